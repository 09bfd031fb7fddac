// An application of Node.js that closes connections that were idle for a second, as by default for five.
import { createServer } from "node:http";

const server = createServer((request, response) => {
  request.resume();
  request.on("end", () => response.end("hello"));
});
server.keepAliveTimeout = 1000;
server.listen(Number(process.env.PORT), "127.0.0.1");
