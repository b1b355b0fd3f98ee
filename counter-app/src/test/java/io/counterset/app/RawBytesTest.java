// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import io.micronaut.test.extensions.junit5.annotation.MicronautTest;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * RFC 9110 (semantics), 9112 (HTTP/1.1), 6454 (origin) and 9457 (problems), clause by clause: bytes
 * sent to the running server and the expected answers. In the table {@code ~} stands for the end of
 * a line. {@code Connection: close} is added to a request without {@code Connection}, so that each
 * row ends.
 */
@MicronautTest
class RawBytesTest extends ServiceTest {

    private static final Pattern STATUS = Pattern.compile("HTTP/1\\.[01] (\\d{3}) ");

    private long total() {
        return service.bean(io.counterset.CounterStore.class).snapshot().values().stream()
                .mapToLong(Long::longValue)
                .sum();
    }

    /**
     * Each row has the clause, the request, the statuses in order and the expected growth of the
     * count.
     */
    @ParameterizedTest(name = "{0}: {1}")
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            # RFC 9112: the message
            9112 2.2 an empty line before the request is ignored | ~~GET /count HTTP/1.1~Host: h~Connection: close~~ | 200 | 0
            9112 2.2 a line that ends with LF alone may be accepted or refused | GET /count HTTP/1.1<LF>Host: h<LF>Connection: close<LF><LF> | 200,400 | 0
            9112 2.2 white space before the first header is refused | POST /count HTTP/1.1~ X: a~Host: h~Connection: close~~ | 400 | 0
            9112 2.3 another major version is refused | POST /count HTTP/2.0~Host: h~Connection: close~~ | 400,505 | 0
            9112 2.3 garbage is refused | nonsense~~ | 400 | 0
            9112 2.3 HTTP/1.0 needs no Host, and its connection ends | POST /count HTTP/1.0~~ | 200 | 1
            9112 3 a request line without a version is refused | POST /count~Host: h~~ | 400 | 0
            9112 3.2 a request without Host is refused | POST /count HTTP/1.1~Connection: close~~ | 400 | 0
            9112 3.2 a request with two Hosts is refused | POST /count HTTP/1.1~Host: a~Host: b~Connection: close~~ | 400 | 0
            9112 3.2.2 the absolute form is accepted | POST http://h/count HTTP/1.1~Host: h~Connection: close~~ | 200 | 1
            9112 3.2.4 the asterisk form is for OPTIONS | POST * HTTP/1.1~Host: h~Connection: close~~ | 400,404 | 0
            9112 3.2.3 CONNECT is not for this server | CONNECT h:80 HTTP/1.1~Host: h:80~Connection: close~~ | 400,404,405 | 0
            9112 5.1 no space between a header's name and its colon | POST /count HTTP/1.1~Host: h~X : a~Connection: close~~ | 400 | 0
            9112 5.2 a folded header is refused or read as spaces | POST /count HTTP/1.1~Host: h~X: a~ b~Connection: close~~ | 200,400 | *
            9112 6.1 chunked must be the last coding | POST /count HTTP/1.1~Host: h~Transfer-Encoding: chunked, gzip~Connection: close~~ | 400,415,501 | 0
            9112 6.1 an unknown coding is refused | POST /count HTTP/1.1~Host: h~Transfer-Encoding: x~Connection: close~~ | 400,415,501 | 0
            9112 6.1 chunked with a length is refused or ends the connection | POST /count HTTP/1.1~Host: h~Transfer-Encoding: chunked~Content-Length: 5~~0~~POST /count HTTP/1.1~Host: h~~ | 400,415 | 0
            9112 6.3 lengths that differ are refused | POST /count HTTP/1.1~Host: h~Content-Length: 1~Content-Length: 2~Connection: close~~ab | 400 | 0
            9112 6.3 a length that is no number is refused | POST /count HTTP/1.1~Host: h~Content-Length: -1~Connection: close~~ | 400 | 0
            9112 6.3 a length with a sign is refused | POST /count HTTP/1.1~Host: h~Content-Length: +1~Connection: close~~a | 400 | 0
            9112 7.1 a chunk's size that is no number ends the connection | POST /count HTTP/1.1~Host: h~Transfer-Encoding: chunked~~zz~POST /count HTTP/1.1~Host: h~~ | 400,415 | 0
            9112 9.3 a connection persists | POST /count HTTP/1.1~Host: h~~POST /count HTTP/1.1~Host: h~Connection: close~~ | 200 200 | 2
            9112 9.3 HTTP/1.0 does not persist, nor has to | POST /count HTTP/1.0~Connection: keep-alive~~POST /count HTTP/1.0~~ | 200 | 1
            9112 9.6 nothing is done after close | POST /count HTTP/1.1~Host: h~Connection: close~~POST /count HTTP/1.1~Host: h~~ | 200 | 1
            9112 9.6 close may be in any case and in a list | POST /count HTTP/1.1~Host: h~Connection: x, CLOSE~~POST /count HTTP/1.1~Host: h~~ | 200 | 1
            # RFC 9110: semantics
            9110 4.2.4 user information is not accepted | POST http://u:p@h/count HTTP/1.1~Host: h~Connection: close~~ | 200,400 | *
            9110 5.5 a NUL in a header is refused | POST /count HTTP/1.1~Host: h~X: a<NUL>b~Connection: close~~ | 400 | 0
            9110 7.6.1 an unknown method is not implemented | BREW /count HTTP/1.1~Host: h~Connection: close~~ | 405,501 | 0
            9110 8.3 a body without type is refused all the same | POST /count HTTP/1.1~Host: h~Content-Length: 2~Connection: close~~ab | 415 | 0
            9110 9.1 methods are case-sensitive | post /count HTTP/1.1~Host: h~Connection: close~~ | 400,501 | 0
            9110 9.3.2 HEAD has no body | HEAD /count HTTP/1.1~Host: h~Connection: close~~ | 200 | 0
            9110 9.3.7 OPTIONS of a path | OPTIONS /count HTTP/1.1~Host: h~Connection: close~~ | 200 | 0
            9110 9.3.8 TRACE is refused | TRACE /count HTTP/1.1~Host: h~Connection: close~~ | 405,501 | 0
            9110 10.1.1 Expect is answered finally at once | POST /count HTTP/1.1~Host: h~Expect: 100-continue~Content-Length: 5~~ | 415 | 0
            9110 10.1.1 another expectation | POST /count HTTP/1.1~Host: h~Expect: x~Connection: close~~ | 200,417 | *
            9110 12.5.1 a malformed Accept | GET /count HTTP/1.1~Host: h~Accept: ;;q=~Connection: close~~ | 200,400,406 | 0
            9110 12.5.1 qualities | GET /count HTTP/1.1~Host: h~Accept: text/plain;q=0~Connection: close~~ | 406 | 0
            9110 12.5.1 several Accept lines are one list | GET /count HTTP/1.1~Host: h~Accept: image/png~Accept: text/plain~Connection: close~~ | 200 | 0
            9110 14.2 a Range is ignored | GET /count HTTP/1.1~Host: h~Range: bytes=0-1~Connection: close~~ | 200 | 0
            9110 15.5.15 a long request line | GET /<4500> HTTP/1.1~Host: h~~ | 414 | 0
            6585 5 large headers | GET /count HTTP/1.1~Host: h~X: <9000>~~ | 431 | 0
            # RFC 3986: the target
            3986 2.1 a broken percent sign | POST /count/a%zz HTTP/1.1~Host: h~Connection: close~~ | 400 | 0
            3986 2.1 a broken percent sign in the query | POST /count?by=%zz HTTP/1.1~Host: h~Connection: close~~ | 400 | 0
            3986 3.5 a fragment is not sent | POST /count#a HTTP/1.1~Host: h~Connection: close~~ | 200,400,404 | *
            3986 6.2.2 dots are not resolved into another path | POST /x/../count HTTP/1.1~Host: h~Connection: close~~ | 400,404 | 0
            # RFC 6454: origin
            6454 7.2 the same origin | POST /count HTTP/1.1~Host: h~Origin: http://h~Connection: close~~ | 200 | 1
            6454 7.2 another origin | POST /count HTTP/1.1~Host: h~Origin: http://i~Connection: close~~ | 403 | 0
            6454 7.3 an opaque origin | POST /count HTTP/1.1~Host: h~Origin: null~Connection: close~~ | 403 | 0
            6454 7.3 a malformed origin | POST /count HTTP/1.1~Host: h~Origin: ://~Connection: close~~ | 403 | 0
            6454 7.3 another port | POST /count HTTP/1.1~Host: h:1~Origin: http://h:2~Connection: close~~ | 403 | 0
            6454 GET of another origin reads nothing that it may not | GET /count HTTP/1.1~Host: localhost~Origin: http://i~Connection: close~~ | 200 | 0
            7239 a malformed Forwarded | POST /count HTTP/1.1~Host: localhost~Origin: http://localhost~Forwarded: for=;;~Connection: close~~ | 200 | 1
            """)
    void isAnsweredAsTheClauseRequires(String clause, String request, String statuses, String counted)
            throws Exception {
        long before = total();
        String bytes = request.replace("~", "\r\n")
                .replace("<LF>", "\n")
                .replace("<NUL>", "\0")
                .replace("<4500>", "a".repeat(4_500))
                .replace("<9000>", "a".repeat(9_000));
        String answer;
        try (Raw raw = new Raw(service.port())) {
            answer = raw.send(bytes).readToEnd();
        }
        List<String> found =
                STATUS.matcher(answer).results().map(m -> m.group(1)).toList();
        String[] wanted = statuses.split(" ", -1);
        assertThat(found).as(answer).hasSize(wanted.length);
        for (int i = 0; i < wanted.length; i++) {
            assertThat(wanted[i].split(",", -1)).as(answer).contains(found.get(i));
        }
        if (!counted.equals("*")) {
            assertThat(total() - before).as(answer).isEqualTo(Long.parseLong(counted));
        }
        String head = answer.substring(0, Math.max(0, answer.indexOf("\r\n\r\n")));
        assertThat(head).as("9110 6.6.1: Date").containsIgnoringCase("\r\ndate: ");
        if (!found.get(0).startsWith("2")) {
            assertThat(head).as("9457 3: media type").containsIgnoringCase("content-type: application/problem+json");
            assertThat(answer).as("9457 3.1: members").contains("\"type\":\"urn:counterset:problem:", "\"title\":\"");
            assertThat(answer).as("9457 3.1.2: status").contains("\"status\":" + found.get(0));
            assertThat(answer).contains("\"increment\":\"not-applied\"");
        }
        if (found.get(0).equals("405")) {
            assertThat(head).as("9110 15.5.6: Allow").containsIgnoringCase("\r\nallow: ");
        }
        if (request.startsWith("HEAD")) {
            assertThat(answer).as("9110 9.3.2").endsWith("\r\n\r\n");
        }
    }

    /** The answer to a request is the same however its bytes are split. */
    @Test
    void theAnswerDoesNotDependOnHowARequestIsSplit() throws Exception {
        String request = "POST /count/pieces HTTP/1.1\r\nHost: h\r\nAccept: text/plain\r\nConnection: close\r\n\r\n";
        for (int cut = 1; cut < request.length(); cut += 3) {
            try (Raw raw = new Raw(service.port())) {
                raw.send(request.substring(0, cut));
                Thread.onSpinWait();
                assertThat(raw.send(request.substring(cut)).readToEnd()).startsWith("HTTP/1.1 200 ");
            }
        }
    }

    /** No input makes the server answer with a server error, hang or stop. */
    @Test
    void noInputMakesTheServerFail() throws Exception {
        long seed = Long.getLong("counterset.fuzz.seed", 20_261_125);
        int rounds = Integer.getInteger("counterset.fuzz.rounds", 400);
        Random random = new Random(seed);
        List<String> words = List.of(
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
                "<script>",
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
        String start = "GET /count HTTP/1.1\r\nHost: h\r\n";
        for (int round = 0; round < rounds; round++) {
            StringBuilder bytes = new StringBuilder(random.nextBoolean() ? start : "");
            for (int i = random.nextInt(30); i >= 0; i--) {
                bytes.append(words.get(random.nextInt(words.size())));
            }
            bytes.append("\r\n\r\n");
            try (Raw raw = new Raw(service.port())) {
                List<String> pieces = new ArrayList<>();
                for (int from = 0; from < bytes.length(); ) {
                    int to = Math.min(bytes.length(), from + 1 + random.nextInt(200));
                    pieces.add(bytes.substring(from, to));
                    from = to;
                }
                String answer;
                try {
                    for (String piece : pieces) {
                        raw.send(piece);
                    }
                    answer = raw.readUntilQuiet(15);
                } catch (java.io.IOException e) {
                    continue; // the server ended the connection while the test was sending
                }
                assertThat(STATUS.matcher(answer).results().map(m -> m.group(1)))
                        .as("seed %d, round %d: %s%n%s", seed, round, bytes, answer)
                        .noneMatch(status -> status.startsWith("5") && !status.equals("501") && !status.equals("505"));
                assertThat(answer).as("seed %d, round %d", seed, round).doesNotContain("<script>");
            }
        }
        assertThat(service.send("GET", "/count").statusCode()).isEqualTo(200);
    }
}
