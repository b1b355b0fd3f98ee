// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static io.counterset.app.Service.assertProblem;
import static io.counterset.app.Service.json;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import io.counterset.k8s.MountedFiles;
import io.micronaut.http.HttpStatus;
import io.micronaut.json.tree.JsonNode;
import java.io.IOException;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.Callable;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.slf4j.LoggerFactory;

/** What tokens allow, and how they are replaced. */
class TokensTest {

    private static final String WRITE = "write-0123456789abcdef";
    private static final String READ = "read-0123456789abcdef";
    private static final String PEERS = "peers-0123456789abcdef";

    @TempDir
    private static Path folder;

    private static Service closed;
    private static Service readable;

    @BeforeAll
    static void start() throws IOException {
        Files.writeString(folder.resolve("write"), WRITE + "\n");
        Files.writeString(folder.resolve("read"), READ + "\n");
        Files.writeString(folder.resolve("peers"), "\n  " + PEERS + " \r\n\n");
        closed = Service.start(
                folder.resolve("closed"),
                "counter.tokens.write",
                folder.resolve("write").toString(),
                "counter.tokens.read",
                folder.resolve("read").toString(),
                "counter.tokens.peers",
                folder.resolve("peers").toString());
        readable = Service.start(
                folder.resolve("readable"),
                "counter.tokens.write",
                folder.resolve("write").toString());
    }

    @AfterAll
    static void stop() {
        closed.close();
        readable.close();
    }

    private static HttpResponse<String> send(Service service, String method, String path, String token) {
        return token.equals("-")
                ? service.send(method, path)
                : service.send(method, path, "Authorization", "Bearer " + token + "-0123456789abcdef");
    }

    /**
     * The table of docs/security.md: the status without a token and with each kind, if all kinds
     * are configured.
     */
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            #                          none | other | read | write | peers
            POST | /count             | 401 | 401   | 403  | 200   | 403
            POST | /count/orders      | 401 | 401   | 403  | 200   | 403
            GET  | /count             | 401 | 401   | 200  | 200   | 200
            HEAD | /count             | 401 | 401   | 200  | 200   | 200
            GET  | /count/orders      | 401 | 401   | 200  | 200   | 200
            GET  | /count/%6Frders/   | 401 | 401   | 200  | 200   | 200
            GET  | /                  | 401 | 401   | 200  | 200   | 403
            GET  | /counts            | 401 | 401   | 200  | 200   | 403
            GET  | /peers             | 401 | 401   | 200  | 200   | 403
            GET  | /history           | 401 | 401   | 200  | 200   | 200
            GET  | /peers/history     | 401 | 401   | 200  | 200   | 403
            GET  | /badge.svg         | 401 | 401   | 200  | 200   | 403
            GET  | /prometheus        | 401 | 401   | 200  | 200   | 403
            GET  | /peers/farewell/app-9 | 401 | 401 | 403 | 403  | 200
            GET  | /peers/losses/app-9 | 401 | 401 | 403 | 403  | 200
            POST | /peers/restore     | 401 | 401   | 403  | 200   | 403
            POST | /peers/forget/app-9 | 401 | 401 | 403 | 200  | 403
            GET  | /nowhere           | 401 | 401   | 404  | 404   | 403
            DELETE | /count           | 401 | 401   | 403  | 405   | 403
            GET  | /health            | 200 | 200   | 200  | 200   | 200
            GET  | /health/liveness   | 200 | 200   | 200  | 200   | 200
            GET  | /health/readiness  | 200 | 200   | 200  | 200   | 200
            GET  | /openapi.yml       | 200 | 200   | 200  | 200   | 200
            GET  | /robots.txt        | 200 | 200   | 200  | 200   | 200
            OPTIONS | /count          | 200 | 200   | 200  | 200   | 200
            """)
    void eachTokenAllowsWhatTheTableSays(
            String method, String path, int none, int other, int read, int write, int peers) {
        assertThat(List.of(
                        send(closed, method, path, "-").statusCode(),
                        send(closed, method, path, "other").statusCode(),
                        send(closed, method, path, "read").statusCode(),
                        send(closed, method, path, "write").statusCode(),
                        send(closed, method, path, "peers").statusCode()))
                .containsExactly(none, other, read, write, peers);
    }

    @Test
    void readingNeedsNoTokenIfOnlyWriteTokensAreSet() {
        assertThat(send(readable, "GET", "/count", "-").statusCode()).isEqualTo(200);
        assertThat(send(readable, "GET", "/prometheus", "-").statusCode()).isEqualTo(200);
        assertThat(send(readable, "GET", "/peers", "-").statusCode()).isEqualTo(200);
        assertProblem(send(readable, "POST", "/count", "-"), 401, "token-required", "not-applied");
        assertThat(send(readable, "POST", "/count", "write").statusCode()).isEqualTo(200);
    }

    @Test
    void refusalsAreProblemsThatNameTheSchemes() {
        HttpResponse<String> none = send(closed, "POST", "/count", "-");
        assertProblem(none, 401, "token-required", "not-applied");
        assertThat(none.headers().allValues("WWW-Authenticate"))
                .containsExactly("Bearer realm=\"counterset\"", "Basic realm=\"counterset\", charset=\"UTF-8\"");
        HttpResponse<String> other = send(closed, "POST", "/count", "read");
        assertProblem(other, 403, "token-insufficient", "not-applied");
        assertThat(other.headers().firstValue("WWW-Authenticate"))
                .contains("Bearer realm=\"counterset\", error=\"insufficient_scope\"");
        Refusals refusals = closed.bean(Refusals.class);
        long before = refusals.countOf(Problem.Type.TOKEN_REQUIRED);
        send(closed, "POST", "/count", "-");
        closed.send("GET", "/", "Accept", "text/html");
        assertThat(refusals.countOf(Problem.Type.TOKEN_REQUIRED)).isEqualTo(before + 2);
    }

    @Test
    void browsersPromptForTheTokenAsAPassword() {
        HttpResponse<String> refused = closed.send("GET", "/", "Accept", "text/html,*/*;q=0.8");
        assertThat(refused.statusCode()).isEqualTo(401);
        assertThat(refused.headers().firstValue("Content-Type")).contains("text/html; charset=utf-8");
        assertThat(refused.headers().allValues("WWW-Authenticate")).anyMatch(value -> value.startsWith("Basic "));
        assertThat(refused.body()).contains("<h1>A token is required</h1>").contains("as the password");
        String password = "Basic " + base64(":" + WRITE);
        HttpResponse<String> page = closed.send("GET", "/", "Accept", "text/html", "Authorization", password);
        assertThat(page.statusCode()).isEqualTo(200);
        assertThat(closed.send("POST", "/count", "authorization", "basic " + base64("anyone:" + WRITE))
                        .statusCode())
                .isEqualTo(200);
    }

    private static String base64(String text) {
        return Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
    }

    @Test
    void aVisitCountsOnlyWithAWriteToken() {
        long before = count(readable);
        assertThat(send(readable, "GET", "/", "-").body()).isEqualTo("visits " + before + " on app-0\n");
        HttpResponse<String> page = readable.send("GET", "/", "Accept", "text/html");
        assertThat(page.statusCode()).isEqualTo(200);
        assertThat(page.body()).contains("This visit was not counted: A token is required.");
        assertThat(count(readable)).isEqualTo(before);
        assertThat(send(readable, "GET", "/", "write").body()).isEqualTo("visits " + (before + 1) + " on app-0\n");
    }

    private static long count(Service service) {
        return json(service.send("GET", "/count")).get("count").getLongValue();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "Bearer",
                "Bearer ",
                "Bearer x",
                "Token " + WRITE,
                WRITE,
                "Bearer " + WRITE + "x",
                "Bearer " + WRITE + ", " + WRITE,
                "Basic",
                "Basic %%%",
                "Basic d3JpdGU",
                "Bearer write-0123456789abcdeé"
            })
    void rejectsMalformedAndWrongCredentials(String header) throws IOException {
        try (Raw raw = new Raw(closed.port())) {
            String answer = raw.sendLines(
                            "POST /count HTTP/1.1\nHost: a\nAuthorization: " + header + "\nConnection: close\n\n")
                    .readToEnd();
            assertThat(answer).startsWith("HTTP/1.1 401 ");
        }
    }

    @Test
    void rejectsTwoCredentials() throws IOException {
        try (Raw raw = new Raw(closed.port())) {
            String answer = raw.sendLines("POST /count HTTP/1.1\nHost: a\nAuthorization: Bearer " + READ
                            + "\nAuthorization: Bearer " + WRITE + "\nConnection: close\n\n")
                    .readToEnd();
            assertThat(answer).startsWith("HTTP/1.1 401 ");
        }
    }

    @Test
    void reloadsAReplacedSecret(@TempDir Path mount) throws IOException {
        secret(mount, "1", "old-token-0123456789");
        Path tokens = mount.resolve("tokens");
        ListAppender<ILoggingEvent> log = new ListAppender<>();
        Logger logger = (Logger) LoggerFactory.getLogger(MountedFiles.class);
        log.start();
        logger.addAppender(log);
        try (Service service = Service.start(mount.resolve("data"), "counter.tokens.write", tokens.toString())) {
            assertThat(status(service, "old-token-0123456789")).isEqualTo(HttpStatus.OK.getCode());
            assertThat(status(service, "new-token-0123456789")).isEqualTo(401);

            secret(mount, "2", "old-token-0123456789\nnew-token-0123456789");
            await(() -> status(service, "new-token-0123456789") == 200);
            assertThat(status(service, "old-token-0123456789")).isEqualTo(200);

            secret(mount, "3", "new-token-0123456789");
            await(() -> status(service, "old-token-0123456789") == 401);
            assertThat(status(service, "new-token-0123456789")).isEqualTo(200);

            // An unusable file changes nothing, and is reported once.
            secret(mount, "4", "short");
            await(() -> warnings(log).size() == 1);
            assertThat(warnings(log).get(0))
                    .startsWith(
                            "counter.tokens.write: '" + tokens + "' is invalid; expected a file with 1 to 100 tokens")
                    .endsWith("; the previous content stays in use")
                    .doesNotContain("short");
            Files.delete(mount.resolve("..data"));
            secret(mount, "5", "new-token-0123456789");
            await(() -> log.list.stream()
                            .filter(event -> event.getFormattedMessage().equals("reloaded: counter.tokens.write"))
                            .count()
                    == 3);
            assertThat(status(service, "new-token-0123456789")).isEqualTo(200);
            assertThat(warnings(log)).hasSize(1);
        } finally {
            logger.detachAppender(log);
        }
    }

    /**
     * Writes the files of a Secret as Kubernetes does: to a new folder, to which a symbolic link is
     * then switched.
     */
    private static void secret(Path mount, String version, String tokens) throws IOException {
        Path content = Files.createDirectory(mount.resolve("..version-" + version));
        Files.writeString(content.resolve("tokens"), tokens);
        Path link = Files.createSymbolicLink(mount.resolve("..data_tmp"), content.getFileName());
        Files.move(link, mount.resolve("..data"), StandardCopyOption.ATOMIC_MOVE);
        if (version.equals("1")) {
            Files.createSymbolicLink(mount.resolve("tokens"), Path.of("..data", "tokens"));
        }
    }

    private static int status(Service service, String token) {
        return service.send("POST", "/count", "Authorization", "Bearer " + token)
                .statusCode();
    }

    private static List<String> warnings(ListAppender<ILoggingEvent> log) {
        return List.copyOf(log.list).stream()
                .filter(event -> event.getLevel().toString().equals("WARN"))
                .map(ILoggingEvent::getFormattedMessage)
                .toList();
    }

    private static void await(Callable<Boolean> condition) {
        Awaitility.await()
                .atMost(Duration.ofSeconds(60))
                .pollInterval(Duration.ofMillis(50))
                .until(condition);
    }

    @Test
    void asksPeersWithTheFirstToken() throws IOException {
        Files.writeString(folder.resolve("peers-of-another"), PEERS + "-x\n" + PEERS + "\n");
        int first = ServiceProcess.freePort();
        int second = ServiceProcess.freePort();
        try (Service one = peer(0, first, second, "peers");
                Service two = peer(1, second, first, "peers-of-another")) {
            send(one, "POST", "/count", "write");
            JsonNode asked = json(send(two, "GET", "/peers", "read"));
            assertThat(asked.get("answered").getIntValue())
                    .as("the first of the two tokens is unknown to the asked replica: %s", asked)
                    .isEqualTo(1);
            assertThat(reason(asked, 0)).isEqualTo("answered HTTP 401");
            JsonNode asking = json(send(one, "GET", "/peers", "read"));
            assertThat(asking.get("complete").getBooleanValue())
                    .as("the second of the two tokens is accepted: %s", asking)
                    .isTrue();
            assertThat(asking.get("total").getLongValue()).isEqualTo(1);
        }
    }

    private static String reason(JsonNode report, int index) {
        return report.get("peers").get(index).get("reason").getStringValue();
    }

    private static Service peer(int number, int port, int other, String peers) {
        return Service.start(
                folder.resolve("app-" + number),
                "counter.instance",
                "app-" + number,
                "micronaut.server.port",
                Integer.toString(port),
                "counter.peers.addresses",
                "127.0.0.1:" + Math.min(port, other) + ",127.0.0.1:" + Math.max(port, other),
                "counter.peers.timeout",
                "20s",
                "counter.peers.deadline",
                "20s",
                "counter.tokens.write",
                folder.resolve("write").toString(),
                "counter.tokens.read",
                folder.resolve("read").toString(),
                "counter.tokens.peers",
                folder.resolve(peers).toString());
    }

    @Test
    void unusableFilesFailTheStartAndLeaveNothingBehind(@TempDir Path fresh) throws IOException {
        Path weak = Files.writeString(fresh.resolve("weak"), "password\n");
        Path good = folder.resolve("write");
        assertRefused(
                fresh,
                "counter.tokens.write: '" + weak + "' is invalid; expected a file with",
                "counter.tokens.write",
                weak);
        assertRefused(
                fresh,
                "counter.tokens.peers: '/nowhere' is invalid; expected the path of a readable file",
                "counter.tokens.peers",
                Path.of("/nowhere"));
        assertRefused(
                fresh, "counter.tokens.write: '' is invalid; expected a file of tokens", "counter.tokens.read", good);
        assertThat(fresh.resolve("data")).doesNotExist();
    }

    private static void assertRefused(Path fresh, String message, String setting, Path file) {
        assertThatThrownBy(() -> Service.start(fresh.resolve("data"), setting, file.toString())
                        .close())
                .rootCause()
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageStartingWith(message)
                .hasMessageNotContaining("password");
    }
}
