//! The file mode from outside: a folder, a socket, and a proxy that is played by the test.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests may fail loudly")]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use portreeve_wire::{
    proto,
    proto::{proxy_message::Message, snapshot_service_client::SnapshotServiceClient},
};
use tokio::{
    net::UnixStream,
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Endpoint};

struct Operator {
    child: Child,
    folder: PathBuf,
}

impl Operator {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("portreeve-file-mode-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(folder.join("source")).unwrap();
        let operator = Self { child: Self::spawn(&folder), folder };
        operator.write(8080);
        operator
    }

    fn spawn(folder: &Path) -> Child {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Command::new(env!("CARGO_BIN_EXE_portreeve-operator"))
            .args([
                "--source",
                &format!("{}/source", folder.display()),
                "--state",
                &format!("{}/state", folder.display()),
            ])
            .args(["--admin", &format!("127.0.0.1:{port}")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn write(&self, port: u16) {
        let text = format!(
            "apiVersion: portreeve.dev/v1alpha1\nkind: ApiRoute\nmetadata: {{name: orders, namespace: shop}}\nspec:\n  \
             workloadSelector: {{matchLabels: {{app: orders}}}}\n  upstream: {{port: {port}}}\n  rules:\n  - name: read\n    \
             matches: [{{path: {{type: PathPrefix, value: /}}}}]\n---\napiVersion: portreeve.dev/v1alpha1\nkind: \
             ApiPolicy\nmetadata: {{name: open, namespace: shop}}\nspec:\n  targetRefs: [{{group: portreeve.dev, kind: \
             ApiRoute, name: orders}}]\n  authentication: {{anonymous: {{}}}}\n"
        );
        fs::write(self.folder.join("source/orders.yaml"), text).unwrap();
    }

    async fn status_says(&self, wanted: &str) {
        let file = self.folder.join("state/status/ApiRoute/shop/orders.yaml");
        for _ in 0..100 {
            if fs::read_to_string(&file).is_ok_and(|text| text.contains(wanted)) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("{} does not say {wanted}: {:?}", file.display(), fs::read_to_string(&file));
    }

    async fn connect(&self) -> Proxy {
        let socket = self.folder.join("state/operator.sock");
        for _ in 0..100 {
            if UnixStream::connect(&socket).await.is_ok() {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        let connector = tower::service_fn(move |_: http::Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://operator").connect_with_connector(connector).await.unwrap();
        let (outgoing, messages) = mpsc::channel(8);
        let proxy_says = |message| proto::ProxyMessage { message: Some(message) };
        let workload = proto::Workload {
            namespace: "shop".to_owned(),
            name: "orders-1".to_owned(),
            labels: [("app".to_owned(), "orders".to_owned())].into(),
        };
        let hello = proto::Hello { workload: Some(workload), held_revision: 5, ..proto::Hello::default() };
        outgoing.send(proxy_says(Message::Hello(hello))).await.unwrap();
        let updates = SnapshotServiceClient::new(channel).subscribe(ReceiverStream::new(messages)).await.unwrap();
        Proxy { outgoing, updates: updates.into_inner() }
    }

    fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

struct Proxy {
    outgoing: mpsc::Sender<proto::ProxyMessage>,
    updates: Streaming<proto::Update>,
}

impl Proxy {
    async fn update(&mut self, within: Duration) -> proto::Update {
        timeout(within, self.updates.message()).await.expect("no update in time").unwrap().unwrap()
    }

    async fn answer(&self, update: &proto::Update, rejections: Vec<proto::Rejection>) {
        let answer = proto::Answer {
            revision: update.revision,
            set_digest: update.set_digest.clone(),
            rejections,
            refused: String::new(),
        };
        let message = proto::ProxyMessage { message: Some(Message::Answer(answer)) };
        self.outgoing.send(message).await.unwrap();
    }
}

#[tokio::test]
async fn from_an_edit_to_a_proxy_and_back_to_the_status() {
    let mut operator = Operator::start("edit");
    let mut proxy = operator.connect().await;
    let first = proxy.update(Duration::from_secs(5)).await;
    assert!(first.revision > 5 && first.upserts.iter().any(|r| r.kind == "Route" && r.name == "shop/orders"));
    operator.status_says("programmed: 0/1").await;
    proxy.answer(&first, Vec::new()).await;
    operator.status_says("programmed: 1/1").await;

    operator.write(8081);
    let second = proxy.update(Duration::from_secs(1)).await;
    assert!(second.revision > first.revision);
    assert_eq!(second.upserts.len(), 1);
    let reason = "this route is too modern".to_owned();
    let rejection = proto::Rejection { kind: "Route".to_owned(), name: "shop/orders".to_owned(), reason };
    proxy.answer(&second, vec![rejection]).await;
    operator.status_says("this route is too modern").await;

    // With its end, or it would count as being written still.
    fs::write(operator.folder.join("source/orders.yaml"), "kind: [\n").unwrap();
    sleep(Duration::from_millis(300)).await;
    let faults = fs::read_to_string(operator.folder.join("state/status/faults.yaml")).unwrap();
    assert!(faults.contains("orders.yaml:1:7") && faults.contains("last good text"), "{faults}");
    operator.write(8082);
    let third = proxy.update(Duration::from_secs(1)).await;
    assert!(!operator.folder.join("state/status/faults.yaml").exists());
    proxy.answer(&third, Vec::new()).await;
    operator.status_says("programmed: 1/1").await;
    operator.status_says("generation: 3").await;

    drop(proxy);
    operator.status_says("programmed: 0/0").await;
    assert_eq!(operator.terminate(), Some(0));
}

#[tokio::test]
async fn misuse_ends_with_64_and_all_faults() {
    let run =
        |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_portreeve-operator")).args(arguments).output().unwrap();
    let output = run(&["--admin", "x", "--source", "/nowhere"]);
    assert_eq!(output.status.code(), Some(64));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("--admin x") && told.contains("--source /nowhere") && told.contains("--state"), "{told}");
    assert_eq!(run(&["--no-such-flag"]).status.code(), Some(64));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}
