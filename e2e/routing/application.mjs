// Files by Node.js as many applications serve them: the path of the URL, decoded, below a folder.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join, normalize } from "node:path";

createServer(async (request, response) => {
  try {
    const { pathname } = new URL(request.url, "http://application");
    response.end(await readFile(join(process.env.FILES, normalize(decodeURIComponent(pathname)))));
  } catch {
    response.writeHead(404).end("not here\n");
  }
}).listen(Number(process.env.PORT), "127.0.0.1");
