// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import com.sun.management.UnixOperatingSystemMXBean;
import io.micronaut.test.extensions.junit5.annotation.MicronautTest;
import io.netty.buffer.ByteBufAllocator;
import io.netty.util.ResourceLeakDetector;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Supplier;
import java.util.regex.MatchResult;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.slf4j.LoggerFactory;

/**
 * Random requests make the server neither fail nor leak. Some are made from the OpenAPI document, with
 * valid, invalid and hostile values, the others from random pieces. They arrive whole, in pieces,
 * slowly, pipelined, cut off or too long. The long form:
 *
 * <pre>
 * mvn -pl counter-app -am test -Dtest=FuzzTest -Dsurefire.failIfNoSpecifiedTests=false \
 *   -Dcounterset.fuzz.rounds=200000 -Dcounterset.fuzz.seed=4711
 * </pre>
 */
@MicronautTest
@Timeout(7_200) // the long form
class FuzzTest extends ServiceTest {

    private static final long SEED = Long.getLong("counterset.fuzz.seed", 20_261_125);
    private static final int ROUNDS = Integer.getInteger("counterset.fuzz.rounds", 400);

    private static final Pattern ANSWER =
            Pattern.compile("HTTP/1\\.[01] (\\d{3}) [^\r]*\r\n(.*?)\r\n\r\n", Pattern.DOTALL);

    /** Text that must be escaped in a page and must not reach the log. */
    private static final String MARKUP = "<img src=x onerror=injected()>";

    private static final String LINE = "\n2026-01-01T00:00:00.000Z ERROR injected: line";

    private static final List<String> VALUES = List.of(
            "",
            "0",
            "1",
            "1000000",
            "1000001",
            "-1",
            "+1",
            "1e3",
            "9223372036854775808",
            "٣",
            " 1",
            "a",
            "visits",
            "NaN",
            "null",
            "é",
            "\u202Edesrever",
            "\u2028",
            "\0",
            "\uD83D\uDE00",
            "a/b",
            "..",
            "../../etc/passwd",
            "${jndi:ldap://127.0.0.1/a}",
            "%s%n%x",
            "{}",
            MARKUP,
            "\" onmouseover=\"injected()",
            "'; DROP TABLE counters; --",
            LINE,
            "\r\nSet-Cookie: injected=1",
            "x".repeat(128),
            "x".repeat(129),
            "é".repeat(64),
            "x".repeat(3_000));

    private static final List<String> HEADERS = List.of(
            "Accept: application/json",
            "Accept: text/plain;q=0.1, text/html",
            "Accept: text/html",
            "Accept: */*;q=2",
            "Accept: ;;;=,,,",
            "Accept: " + "a/b,".repeat(300),
            "Content-Length: 0",
            "Content-Length: 99999999999999999999",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Expect: 100-continue",
            "Expect: something",
            "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Origin: http://h",
            "Origin: null",
            "Origin: " + MARKUP,
            "Sec-Fetch-Site: cross-site",
            "Access-Control-Request-Method: POST",
            "Forwarded: for=;;\"",
            "X-Forwarded-For: 1.2.3.4, " + MARKUP,
            "Authorization: Bearer " + MARKUP,
            "Authorization: Basic !!!",
            "Range: bytes=0-",
            "If-None-Match: *",
            "If-Match: \"a\"",
            "Cookie: a=b; " + MARKUP,
            "Referer: http://i/" + MARKUP,
            "User-Agent: " + MARKUP,
            "Host: i",
            "X-HTTP-Method-Override: DELETE",
            "Connection: x, close",
            "Keep-Alive: timeout=-1",
            "TE: trailers",
            " folded: header",
            "bad header: a",
            "\0: a",
            "X: " + "y".repeat(9_000));

    private static final List<String> PIECES = List.of(
            "GET ",
            "POST ",
            "HEAD ",
            "/count",
            "/counts",
            "/peers/",
            "/",
            "?by=",
            "?after=",
            "?limit=",
            "%",
            "%00",
            "%E2%80%AE",
            MARKUP,
            " HTTP/1.1",
            " HTTP/1.0",
            "\r\n",
            "\r\n\r\n",
            "\n",
            "Host: h",
            "Host: ",
            "Content-Length: ",
            "Transfer-Encoding: chunked",
            "Accept: ",
            "text/plain;q=",
            "Origin: ",
            "Forwarded: ",
            "Idempotency-Key: ",
            "\"",
            "\\",
            "Connection: ",
            "close",
            "keep-alive",
            "0\r\n\r\n",
            "\0",
            "\u00ff",
            ";",
            ",",
            "1",
            "9223372036854775808",
            "Expect: 100-continue",
            "Upgrade: h2c",
            "x".repeat(300));

    private final Random random = new Random(SEED);
    private final ListAppender<ILoggingEvent> log = new ListAppender<>();
    private final Map<String, Integer> statuses = new TreeMap<>();
    private ResourceLeakDetector.Level usual = ResourceLeakDetector.getLevel();

    @BeforeAll
    void watch() {
        usual = ResourceLeakDetector.getLevel();
        ResourceLeakDetector.setLevel(ResourceLeakDetector.Level.PARANOID);
        log.start();
        root().addAppender(log);
    }

    @AfterAll
    void endWatching() {
        ResourceLeakDetector.setLevel(usual);
        root().detachAppender(log);
    }

    private static Logger root() {
        return (Logger) LoggerFactory.getLogger(org.slf4j.Logger.ROOT_LOGGER_NAME);
    }

    private <T> T one(List<T> of) {
        return of.get(random.nextInt(of.size()));
    }

    private static String encoded(String value) {
        return URLEncoder.encode(value, StandardCharsets.UTF_8).replace("+", "%20");
    }

    private String value() {
        String value = one(VALUES);
        return random.nextInt(10) == 0 ? value.replace("\0", "") : encoded(value); // sometimes raw
    }

    /** Returns a request for an operation of the OpenAPI document. */
    private String request(List<Description.Operation> operations, boolean last) {
        Description.Operation operation = one(operations);
        StringBuilder request = new StringBuilder();
        request.append(
                        random.nextInt(12) == 0
                                ? one(List.of("HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "GeT", "POST"))
                                : operation.method())
                .append(' ')
                .append(random.nextInt(20) == 0 ? "http://h" : "")
                .append(operation.path().replaceAll("\\{[^}]*}", Matcher.quoteReplacement(value())));
        String separator = "?";
        for (String parameter : List.of("by", "after", "limit", "unit", "from", "force", value())) {
            if (random.nextInt(8) == 0) {
                request.append(separator).append(parameter).append('=').append(value());
                separator = one(List.of("&", "&", "&", ";", "?"));
            }
        }
        request.append(random.nextInt(30) == 0 ? " HTTP/1.0" : " HTTP/1.1").append("\r\nHost: h\r\n");
        if (random.nextInt(3) == 0) {
            request.append("Idempotency-Key: ")
                    .append(one(VALUES).replaceAll("[\r\n\0]", " "))
                    .append("\r\n");
        }
        if (random.nextInt(6) == 0) {
            request.append("Counterset-Instance: ")
                    .append(one(List.of("app-0", "app-1", encoded(one(VALUES)))))
                    .append("\r\n");
        }
        for (int headers = random.nextInt(3); headers > 0; headers--) {
            request.append(one(HEADERS)).append("\r\n");
        }
        if (random.nextInt(10) == 0) {
            request.append("Content-Length: 5\r\n");
        }
        request.append(last ? "Connection: close\r\n\r\n" : "\r\n");
        return request.append(random.nextInt(10) == 0 ? "5\r\nhello\r\n0\r\n\r\n" : "")
                .toString();
    }

    private String bytes(List<Description.Operation> operations) {
        StringBuilder bytes = new StringBuilder();
        if (random.nextInt(4) == 0) {
            bytes.append(random.nextBoolean() ? "GET /count HTTP/1.1\r\nHost: h\r\n" : "");
            for (int i = random.nextInt(30); i >= 0; i--) {
                bytes.append(one(PIECES));
            }
            return bytes.append("\r\n\r\n").toString();
        }
        for (int pipelined = random.nextInt(6) == 0 ? random.nextInt(20) : 0; pipelined > 0; pipelined--) {
            bytes.append(request(operations, false));
        }
        return bytes.append(request(operations, true)).toString();
    }

    /** Sends the bytes in one of several ways and returns the responses. */
    private String exchange(String bytes) throws IOException {
        try (Raw raw = new Raw(service.port())) {
            int way = random.nextInt(8);
            try {
                if (way == 0) { // in pieces, with pauses between some
                    for (int from = 0; from < bytes.length(); ) {
                        int to = Math.min(bytes.length(), from + 1 + random.nextInt(200));
                        raw.send(bytes.substring(from, to));
                        from = to;
                        if (random.nextInt(8) == 0) {
                            LockSupport.parkNanos(300_000); // a slow client
                        }
                    }
                } else if (way == 1) { // cut off
                    raw.send(bytes.substring(0, random.nextInt(bytes.length())));
                    if (random.nextBoolean()) {
                        raw.reset();
                        return "";
                    }
                    return raw.readUntilQuiet(2);
                } else {
                    raw.send(bytes);
                }
                return raw.readUntilQuiet(25);
            } catch (IOException e) {
                return ""; // the server ended the connection while more was sent
            }
        }
    }

    private void run(int rounds) throws IOException {
        List<Description.Operation> operations = service.description().operations().stream()
                .filter(operation -> !operation.path().contains("forget")
                        && !operation.path().contains("restore"))
                .toList();
        for (int round = 0; round < rounds; round++) {
            String bytes = bytes(operations);
            String answers = exchange(bytes);
            List<MatchResult> heads = ANSWER.matcher(answers).results().toList();
            for (int i = 0; i < heads.size(); i++) {
                String status = heads.get(i).group(1);
                statuses.merge(status, 1, Integer::sum);
                int at = round;
                Supplier<String> where = () -> String.format("seed %d, round %d: %s%n%s", SEED, at, bytes, answers);
                // 503 and 507 are declared: busy, and more counters than allowed.
                assertThat(status).as(where).matches("[1234]..|501|503|505|507");
                String head = heads.get(i).group(2).toLowerCase(Locale.ROOT);
                assertThat(head).as(where).doesNotContain("<img", "injected=1");
                if (head.contains("html") || head.contains("svg")) {
                    int end = i + 1 < heads.size() ? heads.get(i + 1).start() : answers.length();
                    assertThat(answers.substring(heads.get(i).end(), end))
                            .as(where)
                            .doesNotContain(MARKUP, "<img", " onmouseover=\"");
                }
            }
        }
    }

    private record Usage(long heap, long descriptors, int threads) {}

    private static Usage usage() {
        System.gc();
        return new Usage(
                ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed() >> 20,
                ((UnixOperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getOpenFileDescriptorCount(),
                ManagementFactory.getThreadMXBean().getThreadCount());
    }

    private List<String> leaks() {
        return List.copyOf(log.list).stream()
                .filter(event -> event.getLoggerName().equals(ResourceLeakDetector.class.getName()))
                .map(ILoggingEvent::getFormattedMessage)
                .toList();
    }

    /** Lets Netty's detector report the buffers that the garbage collector has found unreachable. */
    private static void collect() {
        System.gc();
        for (int i = 0; i < 10; i++) {
            ByteBufAllocator.DEFAULT.buffer(16).release();
        }
    }

    @Test
    void randomRequestsMakeTheServerNeitherFailNorLeak() throws Exception {
        ByteBufAllocator.DEFAULT.buffer(16).writeByte(1); // a leak, to test the detector
        Awaitility.await().atMost(Duration.ofSeconds(30)).until(() -> {
            collect();
            return !leaks().isEmpty();
        });
        run(ROUNDS / 5); // objects and threads that are made once
        log.list.clear();
        Usage before = usage();

        long began = System.nanoTime();
        run(ROUNDS);
        double seconds = (System.nanoTime() - began) / 1e9;
        Connections connections = service.bean(Connections.class);
        Awaitility.await().atMost(Duration.ofSeconds(30)).until(() -> {
            connections.checkTimesIn(Connections.STALL_SECONDS + 2);
            return connections.open() <= 1; // the one of this test's HTTP client
        });
        for (int i = 0; i < 3; i++) {
            collect();
        }
        Usage after = usage();
        System.out.printf(
                "fuzz: %,d rounds in %.1f s, seed %d; statuses %s; log lines %d; before %s, after %s%n",
                ROUNDS, seconds, SEED, statuses, log.list.size(), before, after);

        assertThat(leaks()).isEmpty();
        List<String> lines = List.copyOf(log.list).stream()
                .map(ILoggingEvent::getFormattedMessage)
                .toList();
        assertThat(lines).noneMatch(line -> line.contains("injected") || line.contains("\n"));
        assertThat(lines.size()).as(lines.toString()).isLessThanOrEqualTo(10 + (int) (seconds / 5));
        assertThat(after.heap).isLessThanOrEqualTo(before.heap + 16);
        assertThat(after.descriptors).isLessThanOrEqualTo(before.descriptors + 8);
        assertThat(after.threads).isLessThanOrEqualTo(before.threads + 8);
        assertThat(service.send("POST", "/count/after").statusCode()).isIn(200, 507);
        assertThat(service.send("GET", "/count").statusCode()).isEqualTo(200);
        assertThat(statuses.keySet()).as("requests of all kinds").contains("200", "400", "404", "405");
    }
}
