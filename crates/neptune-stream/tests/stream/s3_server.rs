//! An object store that runs in the test: the calls of S3 that are used, over HTTP on this machine, without a check of
//! signatures.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use parking_lot::Mutex;

/// What is in the store.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) objects: BTreeMap<String, Object>,
    /// Uploads in parts that are neither completed nor given up, with what they will be called.
    pub(crate) uploads: HashMap<String, (String, BTreeMap<usize, Vec<u8>>)>,
    /// Method and target of every request.
    pub(crate) requests: Vec<String>,
    /// Names in one page of a listing.
    pub(crate) page: usize,
    /// Requests whose line contains this are refused.
    pub(crate) refuse: Option<String>,
    count: u64,
}

#[derive(Clone)]
pub(crate) struct Object {
    pub(crate) bytes: Vec<u8>,
    /// Number of the change that made it: its tag, and in seconds its time.
    version: u64,
}

/// The store and where it listens.
pub(crate) struct Server {
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) endpoint: String,
}

struct Request {
    method: String,
    key: String,
    query: HashMap<String, String>,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Store {
    pub(crate) fn put(&mut self, key: &str, bytes: impl AsRef<[u8]>) {
        self.count += 1;
        let object = Object {
            bytes: bytes.as_ref().to_vec(),
            version: self.count,
        };
        self.objects.insert(key.to_owned(), object);
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.objects.keys().cloned().collect()
    }

    /// Forgets the requests so far and gives those that contain `part`.
    pub(crate) fn requests(&mut self, part: &str) -> Vec<String> {
        let mut requests = std::mem::take(&mut self.requests);
        requests.retain(|request| request.contains(part));
        requests
    }

    fn answer(&mut self, request: &Request) -> Response {
        let query = |key: &str| request.query.get(key).map(String::as_str);
        let key = request.key.as_str();
        match (request.method.as_str(), query("uploadId")) {
            ("GET", _) if key.is_empty() => self.list(request),
            ("GET" | "HEAD", _) => self.get(request),
            ("PUT", Some(upload)) => {
                let number = query("partNumber").unwrap().parse().unwrap();
                let (_, parts) = self.uploads.get_mut(upload).unwrap();
                parts.insert(number, request.body.clone());
                Response::new(200, "").with("ETag", format!("\"part{number}\""))
            }
            ("PUT", None) => {
                self.put(key, &request.body);
                Response::new(200, "").with("ETag", self.tag(key))
            }
            ("POST", Some(upload)) => {
                let (key, parts) = self.uploads.remove(upload).unwrap();
                self.put(&key, parts.into_values().flatten().collect::<Vec<_>>());
                let tag = self.tag(&key);
                Response::new(
                    200,
                    &format!(
                        "<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"
                    ),
                )
            }
            ("POST", None) if query("delete").is_some() => {
                let body = String::from_utf8(request.body.clone()).unwrap();
                let keys = body.split("<Key>").skip(1);
                let mut answer = String::from("<DeleteResult>");
                for (key, _) in keys.filter_map(|rest| rest.split_once("</Key>")) {
                    self.objects.remove(&unescape(key));
                    write!(answer, "<Deleted><Key>{key}</Key></Deleted>").unwrap();
                }
                Response::new(200, &(answer + "</DeleteResult>"))
            }
            ("POST", None) => {
                self.count += 1;
                let upload = format!("upload{}", self.count);
                self.uploads
                    .insert(upload.clone(), (key.to_owned(), BTreeMap::new()));
                Response::new(
                    200,
                    &format!(
                        "<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
                    ),
                )
            }
            ("DELETE", Some(upload)) => {
                self.uploads.remove(upload);
                Response::new(204, "")
            }
            (method, _) => panic!("no answer to {method} {key} {:?}", request.query),
        }
    }

    fn tag(&self, key: &str) -> String {
        format!("\"v{}\"", self.objects[key].version)
    }

    fn list(&self, request: &Request) -> Response {
        let query = |key: &str| request.query.get(key).map_or("", String::as_str);
        let after = query("start-after").max(query("continuation-token"));
        let mut found = self
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with(query("prefix")) && key.as_str() > after);
        let mut body = String::from("<ListBucketResult>");
        let page: Vec<_> = found.by_ref().take(self.page.max(1)).collect();
        for (key, object) in &page {
            let (size, version) = (object.bytes.len(), object.version);
            write!(
                body,
                "<Contents><Key>{}</Key><Size>{size}</Size>\
                 <LastModified>2024-01-01T00:{:02}:{:02}.000Z</LastModified>\
                 <ETag>\"v{version}\"</ETag></Contents>",
                escape(key),
                version / 60,
                version % 60
            )
            .unwrap();
        }
        if let (Some(_), Some((last, _))) = (found.next(), page.last()) {
            let last = escape(last);
            write!(
                body,
                "<NextContinuationToken>{last}</NextContinuationToken>"
            )
            .unwrap();
        }
        Response::new(200, &(body + "</ListBucketResult>"))
    }

    fn get(&self, request: &Request) -> Response {
        let Some(object) = self.objects.get(&request.key) else {
            return Response::new(404, "<Error><Code>NoSuchKey</Code></Error>");
        };
        let tag = self.tag(&request.key);
        if request
            .headers
            .get("if-match")
            .is_some_and(|wanted| *wanted != tag)
        {
            return Response::new(412, "<Error><Code>PreconditionFailed</Code></Error>");
        }
        let time = format!(
            "Mon, 01 Jan 2024 00:{:02}:{:02} GMT",
            object.version / 60,
            object.version % 60
        );
        let bytes = &object.bytes;
        let range = request.headers.get("range").map(|range| {
            let (start, end) = range
                .strip_prefix("bytes=")
                .unwrap()
                .split_once('-')
                .unwrap();
            let last = bytes.len() - 1;
            (
                start.parse::<usize>().unwrap(),
                end.parse().unwrap_or(last).min(last),
            )
        });
        let response = match range {
            Some((start, _)) if start >= bytes.len() => {
                return Response::new(416, "<Error><Code>InvalidRange</Code></Error>");
            }
            Some((start, end)) => {
                let range = format!("bytes {start}-{end}/{}", bytes.len());
                let mut response = Response::new(206, "").with("Content-Range", range);
                response.body = bytes[start..=end].to_vec();
                response
            }
            None => {
                let mut response = Response::new(200, "");
                response.body = bytes.clone();
                response
            }
        };
        response.with("ETag", tag).with("Last-Modified", time)
    }
}

impl Response {
    fn new(status: u16, body: &str) -> Self {
        Self {
            status,
            headers: vec![],
            body: body.as_bytes().to_vec(),
        }
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let store = Arc::new(Mutex::new(Store {
            page: 1000,
            ..Store::default()
        }));
        let shared = Arc::clone(&store);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (store, connection) = (Arc::clone(&shared), connection.unwrap());
                std::thread::spawn(move || serve(&connection, &store));
            }
        });
        Self { store, endpoint }
    }
}

/// Answers the requests of one connection.
fn serve(connection: &TcpStream, store: &Mutex<Store>) {
    let mut reader = BufReader::new(connection);
    while let Some(request) = read(&mut reader, store) {
        let mut store = store.lock();
        let line = store.requests.last().unwrap();
        let refused = store
            .refuse
            .as_ref()
            .is_some_and(|part| line.contains(part));
        let response = match refused {
            true => Response::new(403, "<Error><Code>AccessDenied</Code></Error>"),
            false => store.answer(&request),
        };
        drop(store);
        let mut head = format!("HTTP/1.1 {} -\r\n", response.status);
        for (name, value) in &response.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        write!(head, "Content-Length: {}\r\n\r\n", response.body.len()).unwrap();
        let mut out = head.into_bytes();
        if request.method != "HEAD" {
            out.extend(response.body);
        }
        let mut connection = connection;
        if connection.write_all(&out).is_err() {
            break;
        }
    }
    let _ = connection.shutdown(Shutdown::Both);
}

fn read(reader: &mut BufReader<&TcpStream>, store: &Mutex<Store>) -> Option<Request> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            None => break,
        }
    }
    let length = headers.get("content-length");
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    let signed = headers.get("authorization");
    assert!(
        signed.is_some_and(|by| by.starts_with("AWS4-HMAC-SHA256 Credential=me/")),
        "{signed:?}"
    );
    store.lock().requests.push(format!("{method} {target}"));
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        });
    Some(Request {
        query: query.collect(),
        key: decode(
            path.trim_start_matches('/')
                .split_once('/')
                .map_or("", |(_, key)| key),
        ),
        method,
        headers,
        body,
    })
}

fn decode(text: &str) -> String {
    let (mut out, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(out).unwrap()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}
