// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static io.counterset.app.Service.json;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.micrometer.core.instrument.MeterRegistry;
import io.micronaut.json.tree.JsonNode;
import io.netty.pkitesting.CertificateBuilder;
import io.netty.pkitesting.X509Bundle;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.cert.X509Certificate;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** TLS of the server and between peers, with certificates like those of cert-manager. */
class TlsTest {

    /** The name in the certificate of all replicas: the headless service's name. */
    private static final String NAME = "app-headless";

    private static X509Bundle authority;

    @TempDir
    private Path folder;

    @BeforeAll
    static void makeAuthority() throws Exception {
        authority = new CertificateBuilder()
                .subject("CN=authority")
                .setIsCertificateAuthority(true)
                .ecp256()
                .buildSelfSigned();
    }

    private static CertificateBuilder certificate() throws IOException {
        return new CertificateBuilder()
                .subject("CN=replica")
                .notAfter(Instant.now().plus(Duration.ofDays(30)))
                .addSanDnsName(NAME)
                .addSanIpAddress("127.0.0.1");
    }

    /**
     * Writes tls.crt, tls.key and ca.crt. An RSA key is written in PKCS #1, cert-manager's default.
     */
    private void write(X509Bundle bundle) throws IOException {
        Files.writeString(folder.resolve("ca.crt"), authority.getCertificatePEM());
        Files.writeString(folder.resolve("tls.key"), key(bundle));
        Files.writeString(folder.resolve("tls.crt"), bundle.getCertificatePathPEM());
    }

    private static String key(X509Bundle bundle) {
        byte[] pkcs8 = bundle.getKeyPair().getPrivate().getEncoded();
        if (!bundle.getKeyPair().getPrivate().getAlgorithm().equals("RSA")) {
            return bundle.getPrivateKeyPEM();
        }
        byte[] pkcs1 = Arrays.copyOfRange(pkcs8, 26, pkcs8.length); // the bytes before only identify RSA
        return "-----BEGIN RSA PRIVATE KEY-----\n"
                + Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(pkcs1)
                + "\n-----END RSA PRIVATE KEY-----\n";
    }

    private Service start(String... settings) {
        String[] all = Arrays.copyOf(
                new String[] {
                    "counter.tls.certificate",
                    folder.resolve("tls.crt").toString(),
                    "counter.tls.key",
                    folder.resolve("tls.key").toString(),
                    "counter.tls.authority",
                    folder.resolve("ca.crt").toString(),
                    "counter.tls.peer-name",
                    NAME,
                    "counter.peers.timeout",
                    "20s",
                    "counter.peers.deadline",
                    "20s"
                },
                12 + settings.length);
        System.arraycopy(settings, 0, all, 12, settings.length);
        return Service.start(folder.resolve("data-" + System.nanoTime()), all);
    }

    /**
     * Returns a new client that trusts the authority and shares no connections or sessions with
     * earlier ones.
     */
    private static HttpClient client() {
        try {
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(null, new TrustManager[] {authority.toTrustManager()}, null);
            return HttpClient.newBuilder()
                    .sslContext(context)
                    .connectTimeout(Duration.ofSeconds(30))
                    .build();
        } catch (java.security.GeneralSecurityException e) {
            throw new IllegalStateException(e);
        }
    }

    private static HttpResponse<String> get(HttpClient client, Service service, String path) {
        try {
            return client.send(
                    HttpRequest.newBuilder(URI.create("https://127.0.0.1:" + service.port() + path))
                            .timeout(Duration.ofSeconds(60))
                            .build(),
                    HttpResponse.BodyHandlers.ofString());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        }
    }

    private static String serial(Service service) {
        return ((X509Certificate) get(client(), service, "/health/liveness")
                        .sslSession()
                        .map(session -> {
                            try {
                                return session.getPeerCertificates()[0];
                            } catch (javax.net.ssl.SSLPeerUnverifiedException e) {
                                throw new IllegalStateException(e);
                            }
                        })
                        .orElseThrow())
                .getSerialNumber()
                .toString();
    }

    private static void await(Callable<Boolean> condition) {
        Awaitility.await()
                .atMost(Duration.ofSeconds(60))
                .pollInterval(Duration.ofMillis(100))
                .until(condition);
    }

    @Test
    void servesHttpsAndReloadsTheCertificateWithoutARestart() throws Exception {
        X509Bundle first = certificate().rsa2048().buildIssuedBy(authority);
        X509Bundle second = certificate().ecp256().buildIssuedBy(authority);
        write(first);
        try (Service service = start()) {
            HttpClient kept = client();
            assertThat(get(kept, service, "/count").statusCode()).isEqualTo(200);
            assertThat(get(kept, service, "/health/readiness").statusCode()).isEqualTo(200);
            assertThat(serial(service))
                    .isEqualTo(first.getCertificate().getSerialNumber().toString());
            service.bean(MeterRegistry.class); // the application creates it after the start
            assertThat(get(kept, service, "/prometheus").body())
                    .containsPattern("counterset_certificate_expires_seconds [0-9.E]+");

            // A key that does not belong to the certificate changes nothing.
            Files.writeString(folder.resolve("tls.key"), key(second));
            assertThat(serial(service))
                    .isEqualTo(first.getCertificate().getSerialNumber().toString());
            write(second);
            await(() -> serial(service)
                    .equals(second.getCertificate().getSerialNumber().toString()));
            assertThat(get(kept, service, "/count").statusCode())
                    .as("an existing connection keeps working")
                    .isEqualTo(200);
        }
    }

    @Test
    void doesNotAnswerPlainText() throws Exception {
        write(certificate().ecp256().buildIssuedBy(authority));
        try (Service service = start();
                Raw raw = new Raw(service.port())) {
            assertThat(raw.sendLines("GET /count HTTP/1.1\nHost: a\n\n").readToEnd())
                    .doesNotContain("HTTP/1.1");
            assertThat(get(client(), service, "/count").statusCode()).isEqualTo(200);
        }
    }

    @Test
    void asksPeersOverTlsAndChecksTheirCertificates() throws Exception {
        write(certificate().ecp256().buildIssuedBy(authority));
        int first = ServiceProcess.freePort();
        int second = ServiceProcess.freePort();
        String addresses = "127.0.0.1:" + first + ",127.0.0.1:" + second;
        try (Service one = peer("app-0", first, addresses)) {
            try (Service two = peer("app-1", second, addresses)) {
                assertThat(two.port()).isEqualTo(second);
                JsonNode report = json(get(client(), one, "/peers"));
                assertThat(report.get("complete").getBooleanValue())
                        .as("%s", report)
                        .isTrue();
            }
            try (Service two = peer("app-1", second, addresses, "counter.tls.peer-name", "another-name")) {
                assertThat(reason(two, 0))
                        .startsWith("its certificate was rejected: No ")
                        .contains("another-name");
            }
            X509Bundle stranger = new CertificateBuilder()
                    .subject("CN=stranger")
                    .setIsCertificateAuthority(true)
                    .ecp256()
                    .buildSelfSigned();
            Path other = Files.writeString(folder.resolve("other.crt"), stranger.getCertificatePEM());
            try (Service two = peer("app-1", second, addresses, "counter.tls.authority", other.toString())) {
                assertThat(reason(two, 0)).startsWith("its certificate was rejected: ");
                Files.writeString(other, authority.getCertificatePEM());
                await(() -> json(get(client(), two, "/peers")).get("complete").getBooleanValue());
            }
            try (Service two = Service.start(
                    folder.resolve("plain"),
                    "counter.instance",
                    "app-1",
                    "micronaut.server.port",
                    Integer.toString(second))) {
                assertThat(two.port()).isEqualTo(second);
                assertThat(reason(one, 1)).isEqualTo("does not speak TLS");
            }
        }
    }

    private static String reason(Service service, int index) {
        JsonNode report = json(get(client(), service, "/peers"));
        JsonNode reason = report.get("peers").get(index).get("reason");
        assertThat(reason).as("%s", report).isNotNull();
        return reason.getStringValue();
    }

    private Service peer(String instance, int port, String addresses, String... settings) {
        String[] all = Arrays.copyOf(
                new String[] {
                    "counter.instance", instance,
                    "micronaut.server.port", Integer.toString(port),
                    "counter.peers.addresses", addresses
                },
                6 + settings.length);
        System.arraycopy(settings, 0, all, 6, settings.length);
        return start(all);
    }

    @Test
    void theManagementPortIsPlainHttp() throws Exception {
        write(certificate().ecp256().buildIssuedBy(authority));
        int management = ServiceProcess.freePort();
        try (Service service = start("counter.management-port", Integer.toString(management));
                Raw raw = new Raw(management)) {
            assertThat(raw.sendLines("GET /health/liveness HTTP/1.1\nHost: a\nConnection: close\n\n")
                            .readToEnd())
                    .startsWith("HTTP/1.1 200 ");
            assertThat(get(client(), service, "/count").statusCode()).isEqualTo(200);
        }
    }

    @Test
    void checkAcceptsATokenAndAnAuthority() throws Exception {
        write(certificate().ecp256().buildIssuedBy(authority));
        Path tokens = Files.writeString(folder.resolve("tokens"), "a-token-0123456789\nanother-0123456789\n");
        try (Service service = start("counter.tokens.write", tokens.toString())) {
            String url = "https://127.0.0.1:" + service.port();
            String ca = folder.resolve("ca.crt").toString();
            assertThat(check(0, url, "--token-file", tokens.toString(), "--authority", ca))
                    .contains("ok: read back 1");
            assertThat(check(1, url, "--authority", ca)).contains("status 401");
            assertThat(check(1, url, "--timeout", "1", "--token-file", tokens.toString()))
                    .contains("SSLHandshakeException");
            assertThat(check(2, url, "--token-file", "/nowhere")).contains("--token-file: the file cannot be read: ");
            assertThat(check(2, url, "--authority", tokens.toString())).contains("--authority: expected a file of ");
        }
    }

    private static String check(int status, String url, String... options) {
        String[] arguments = new String[options.length + 2];
        arguments[0] = "check";
        arguments[1] = url;
        System.arraycopy(options, 0, arguments, 2, options.length);
        ByteArrayOutputStream written = new ByteArrayOutputStream();
        PrintStream out = new PrintStream(written, true, StandardCharsets.UTF_8);
        int found = Check.run(arguments, out, out);
        String text = written.toString(StandardCharsets.UTF_8);
        assertThat(found).as(text).isEqualTo(status);
        return text;
    }

    @Test
    void restoreAndForgetTakeUrlTokenAndAuthorityFromTheReplicasEnvironment() throws Exception {
        write(certificate().addSanDnsName("localhost").ecp256().buildIssuedBy(authority));
        Path tokens = Files.writeString(folder.resolve("tokens"), "a-token-0123456789\n");
        Path peers = Files.writeString(folder.resolve("peers"), "of-peers-0123456789\n");
        try (Service service = start(
                "micronaut.server.context-path",
                "/a/prefix",
                "counter.tokens.write",
                tokens.toString(),
                "counter.tokens.peers",
                peers.toString())) {
            Map<String, String> pod = new HashMap<>(Map.of(
                    "MICRONAUT_SERVER_PORT", Integer.toString(service.port()),
                    "MICRONAUT_SERVER_CONTEXT_PATH", "/a/prefix",
                    "COUNTER_TOKENS_WRITE", tokens.toString(),
                    "COUNTER_TLS_CERTIFICATE", folder.resolve("tls.crt").toString(),
                    "COUNTER_TLS_AUTHORITY", folder.resolve("ca.crt").toString()));
            String done = "nothing remembered: app-9\n";
            for (String host : new String[] {"", "0.0.0.0", "::", "127.0.0.1"}) {
                pod.put("MICRONAUT_SERVER_HOST", host);
                assertThat(command(0, pod, "forget", "app-9")).isEqualTo(done);
            }
            assertThat(command(1, pod, "restore", "--from", "app-9")).contains("'app-9' is not a listed peer");

            String url = "https://127.0.0.1:" + service.port() + "/a/prefix";
            assertThat(command(1, pod, "forget", "app-9", "--to", url))
                    .as("neither the token nor the authority is used for another URL")
                    .contains("SSLHandshakeException");
            assertThat(command(1, pod, "forget", "app-9", "--token-file", peers.toString()))
                    .contains("status 403");
            String ca = folder.resolve("ca.crt").toString();
            assertThat(command(1, pod, "forget", "app-9", "--to", url, "--authority", ca))
                    .contains("status 401");

            pod.put("COUNTER_TOKENS_WRITE", "/nowhere");
            assertThat(command(2, pod, "forget", "app-9"))
                    .startsWith("counterset: COUNTER_TOKENS_WRITE: the file cannot be read: ");
            pod.put("COUNTER_TOKENS_WRITE", "");
            pod.put("COUNTER_TLS_AUTHORITY", tokens.toString());
            assertThat(command(2, pod, "forget", "app-9"))
                    .startsWith("counterset: COUNTER_TLS_AUTHORITY: expected a file of PEM certificates: ");
        }
    }

    private static String command(int status, Map<String, String> environment, String... arguments) {
        ByteArrayOutputStream written = new ByteArrayOutputStream();
        PrintStream out = new PrintStream(written, true, StandardCharsets.UTF_8);
        int found = Restore.run(arguments, environment, out, out);
        String text = written.toString(StandardCharsets.UTF_8);
        assertThat(found).as(text).isEqualTo(status);
        return text;
    }

    @Test
    void unusableFilesFailTheStartAndLeaveNothingBehind() throws Exception {
        X509Bundle bundle = certificate().ecp256().buildIssuedBy(authority);
        write(bundle);
        assertRefused("counter.tls.key: '' is invalid; expected the path of a file", "counter.tls.key", "");
        Path other = Files.writeString(
                folder.resolve("other.key"),
                certificate().ecp256().buildIssuedBy(authority).getPrivateKeyPEM());
        assertRefused(
                "counter.tls.key: '" + other
                        + "' is invalid; expected the private key of the certificate in counter.tls.certificate",
                "counter.tls.key",
                other.toString());
        Path nothing = Files.writeString(folder.resolve("nothing"), "nothing\n");
        assertRefused(
                "counter.tls.certificate: '" + nothing + "' is invalid; expected a PEM certificate chain",
                "counter.tls.certificate",
                nothing.toString());
        assertRefused(
                "counter.tls.authority: '" + nothing + "' is invalid; expected a file of PEM certificates",
                "counter.tls.authority",
                nothing.toString());
        assertThat(folder).isDirectoryNotContaining("glob:**data-*");
    }

    private void assertRefused(String message, String setting, String value) {
        assertThatThrownBy(() -> start(setting, value).close())
                .rootCause()
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageStartingWith(message);
    }
}
