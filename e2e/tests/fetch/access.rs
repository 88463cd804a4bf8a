//! Registries that prove who they are, and that want to know who asks.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use e2e::registry::{Access, HostRegistry};

use crate::bench::{Bench, NAME, is_error};
use crate::relay::Relay;

/// `user` with the password `hunter2`, as htpasswd writes it.
const USERS: &str = "user:$2b$04$e3sgWBKnZJo4pNEui.2fOOEg26oRl1J6Y7DD.iuhWOzm.k26Cu47y\n";
/// The same as files of credentials have it.
const AUTH: &str = "dXNlcjpodW50ZXIy";

/// A CA (`tmp/ca.crt`), and a certificate with its key for `localhost` and `registry.test`.
fn certificate(bench: &Bench) -> Result<(PathBuf, PathBuf)> {
    bench.person.write(
        "tmp/ca.cnf",
        "[req]\ndistinguished_name=dn\nx509_extensions=ca\nprompt=no\n[dn]\nCN=test CA\n[ca]\nbasicConstraints=critical,CA:TRUE\n\
         keyUsage=keyCertSign\n[server]\nsubjectAltName=DNS:localhost,DNS:registry.test\n",
    )?;
    let openssl = |words: &[&str]| {
        let at = |word: &&str| word.replace("@", &format!("{}/", bench.person.path("tmp").display()));
        bench
            .person
            .command("openssl")
            .args(words.iter().map(at))
            .output()
            .map(drop)
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    openssl(
        &[
            &[
                "req", "-x509", "-config", "@ca.cnf", "-days", "2", "-keyout", "@ca.key", "-out", "@ca.crt",
            ],
            &key[..],
        ]
        .concat(),
    )?;
    openssl(
        &[
            &[
                "req",
                "-config",
                "@ca.cnf",
                "-subj",
                "/CN=registry",
                "-keyout",
                "@key",
                "-out",
                "@csr",
            ],
            &key[..],
        ]
        .concat(),
    )?;
    openssl(&[
        "x509",
        "-req",
        "-in",
        "@csr",
        "-CA",
        "@ca.crt",
        "-CAkey",
        "@ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "@ca.cnf",
        "-extensions",
        "server",
        "-out",
        "@crt",
    ])?;
    Ok((bench.person.path("tmp/crt"), bench.person.path("tmp/key")))
}

pub fn tls() -> Result<()> {
    let bench = Bench::new()?;
    drop(bench.registry()?);
    let access = Access {
        tls: Some(certificate(&bench)?),
        users: None,
    };
    let registry = HostRegistry::start_with(&bench.person, &access)?;
    let reference = bench.reference("localhost", registry.port());
    let words = [reference.as_str(), "--arch=aarch64"];
    is_error(
        &bench.fetch(&words).outcome()?,
        &[
            "shows a certificate that is not trusted",
            "its issuer is not known here",
            "--ca FILE",
        ],
    )?;
    let ca = bench.person.path("tmp/ca.crt");
    let other = bench.reference("127.0.0.1", registry.port());
    let other = [&other, "--arch=aarch64", "--ca", &ca.to_string_lossy()];
    is_error(&bench.fetch(&other).outcome()?, &["it is for another name"])?;
    is_error(
        &bench
            .fetch(&[&reference, "--arch=aarch64", "--ca=work"])
            .outcome()?,
        &["reading `work` failed"],
    )?;
    bench.person.write("work/no.crt", "no certificate")?;
    is_error(
        &bench
            .fetch(&[&reference, "--arch=aarch64", "--ca=no.crt"])
            .outcome()?,
        &["`no.crt` holds no certificate"],
    )?;
    let plain = format!("--plain-http=localhost:{}", registry.port());
    is_error(
        &bench
            .fetch(&[&reference, "--arch=aarch64", &plain, "--tries=1"])
            .outcome()?,
        &["answers 400"],
    )?;
    // Each way to trust it.
    let given = ["--ca", &ca.to_string_lossy(), "--cache=1", "--output=1"].map(str::to_owned);
    bench.fetch(&words).args(given).output()?;
    bench.check("1/app-1-oci", "aarch64")?;
    bench
        .fetch(&words)
        .args(["--cache=2", "--output=2"])
        .env("SSL_CERT_FILE", &ca)
        .output()?;
    bench.check("2/app-1-oci", "aarch64")?;
    for folder in [
        "home/.config",
        "home/.config/containers",
        "home/.config/containers/certs.d",
    ] {
        bench.person.directory(folder)?;
    }
    let folder = format!("home/.config/containers/certs.d/localhost:{}", registry.port());
    bench.person.directory(&folder)?;
    bench.person.write(&format!("{folder}/own.crt"), fs::read(&ca)?)?;
    bench.fetch(&words).args(["--cache=3", "--output=3"]).output()?;
    bench.check("3/app-1-oci", "aarch64")
}

pub fn proxy() -> Result<()> {
    let bench = Bench::new()?;
    drop(bench.registry()?);
    let access = Access {
        tls: Some(certificate(&bench)?),
        users: None,
    };
    let registry = HostRegistry::start_with(&bench.person, &access)?;
    let proxy = Relay::proxy(registry.port())?;
    let reference = format!("registry.test/{NAME}:1@{}", bench.index);
    let words = [reference.as_str(), "--arch=aarch64", "--ca=../tmp/ca.crt"];
    let address = format!("http://127.0.0.1:{}", proxy.port);
    bench.fetch(&words).env("HTTPS_PROXY", &address).output()?;
    bench.check("app-1-oci", "aarch64")?;
    // One that says no, and one that must not be asked.
    let other = [
        &format!("other.test/{NAME}@{}", bench.index),
        "--cache=none",
        "--tries=1",
    ];
    let refused = bench.fetch(&other).env("https_proxy", &address);
    is_error(&refused.outcome()?, &["the proxy for other.test cannot be used"])?;
    let direct = bench
        .fetch(&other)
        .env("https_proxy", &address)
        .env("no_proxy", ".test");
    is_error(&direct.outcome()?, &["the connection to other.test failed"])
}

pub fn passwords() -> Result<()> {
    let bench = Bench::new()?;
    drop(bench.registry()?);
    let access = Access {
        tls: None,
        users: Some(bench.person.write("tmp/users", USERS)?),
    };
    let registry = HostRegistry::start_with(&bench.person, &access)?;
    let host = format!("127.0.0.1:{}", registry.port());
    let reference = bench.reference("127.0.0.1", registry.port());
    let words = [reference.as_str(), "--arch=aarch64"];
    is_error(
        &bench.fetch(&words).outcome()?,
        &[
            "asks for a login (401)",
            &format!("skopeo login {host}"),
            "--authfile",
        ],
    )?;
    let auths = |key: &str, auth: &str| format!(r#"{{"auths": {{"{key}": {{"auth": "{auth}"}}}}}}"#);
    // user:hunter23
    bench
        .person
        .write("work/wrong.json", auths(&host, "dXNlcjpodW50ZXIyMw=="))?;
    is_error(
        &bench.fetch(&words).arg("--authfile=wrong.json").outcome()?,
        &["does not accept the credentials from `wrong.json` (401)"],
    )?;
    bench.person.write(
        "work/helper.json",
        format!(r#"{{"credHelpers": {{"{host}": "pass"}}}}"#),
    )?;
    is_error(
        &bench.fetch(&words).arg("--authfile=helper.json").outcome()?,
        &["docker-credential-pass"],
    )?;
    is_error(
        &bench.fetch(&words).arg("--authfile=none.json").outcome()?,
        &["reading `none.json` failed"],
    )?;
    // Each place where credentials can be, the last one as skopeo writes it.
    let good = bench
        .person
        .write("work/good.json", auths(&format!("{host}/{NAME}"), AUTH))?;
    bench
        .fetch(&words)
        .args(["--authfile=good.json", "--cache=1", "--output=1"])
        .output()?;
    bench
        .fetch(&words)
        .args(["--cache=2", "--output=2"])
        .env("REGISTRY_AUTH_FILE", &good)
        .output()?;
    bench.person.directory("home/.docker")?;
    bench.person.write(
        "home/.docker/config.json",
        auths(&format!("http://{host}/v2/"), AUTH),
    )?;
    bench.fetch(&words).args(["--cache=3", "--output=3"]).output()?;
    fs::remove_file(bench.person.path("home/.docker/config.json"))?;
    let runtime = bench.person.directory("tmp/runtime")?;
    bench
        .person
        .command("skopeo")
        .args([
            "login",
            "--tls-verify=false",
            "--username=user",
            "--password-stdin",
            &host,
        ])
        .env("XDG_RUNTIME_DIR", &runtime)
        .output_with(b"hunter2")?;
    bench
        .fetch(&words)
        .args(["--cache=4", "--output=4"])
        .env("XDG_RUNTIME_DIR", &runtime)
        .output()?;
    for number in 1..=4 {
        bench.check(&format!("{number}/app-1-oci"), "aarch64")?;
    }
    Ok(())
}
