// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static io.counterset.app.Service.assertProblem;
import static org.assertj.core.api.Assertions.assertThat;

import io.micronaut.http.HttpRequest;
import io.micronaut.http.HttpRequestWrapper;
import io.micronaut.http.MutableHttpRequest;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The limit for an address, and the address that it applies to. */
class RateLimitTest {

    private static final long SECOND = 1_000_000_000L;

    private final AtomicLong now = new AtomicLong(-5 * SECOND);

    private RateLimit limit(int limit, int burst, ClientAddress.Source source) {
        return new RateLimit(new CounterSettings.Rate(limit, burst, source), now::get);
    }

    private static HttpRequest<?> from(String address, String... headers) {
        MutableHttpRequest<Object> request = HttpRequest.GET("/");
        for (int i = 0; i < headers.length; i += 2) {
            request.header(headers[i], headers[i + 1]);
        }
        return new HttpRequestWrapper<>(request) {
            @Override
            public InetSocketAddress getRemoteAddress() {
                try {
                    return new InetSocketAddress(InetAddress.getByName(address), 4711);
                } catch (UnknownHostException e) {
                    throw new IllegalArgumentException(e);
                }
            }
        };
    }

    private static int admitted(RateLimit limit, HttpRequest<?> request) {
        int admitted = 0;
        while (admitted < 1_000 && limit.admits(request)) {
            admitted++;
        }
        return admitted;
    }

    @Test
    void admitsABurstAndThenTheRate() {
        RateLimit limit = limit(10, 3, ClientAddress.Source.SOCKET);
        HttpRequest<?> request = from("192.0.2.1");
        assertThat(admitted(limit, request)).isEqualTo(3);
        now.addAndGet(SECOND / 10);
        assertThat(admitted(limit, request)).isEqualTo(1);
        now.addAndGet(SECOND / 5);
        assertThat(admitted(limit, request)).isEqualTo(2);
        now.addAndGet(3_600 * SECOND);
        assertThat(admitted(limit, request)).isEqualTo(3);
    }

    @Test
    void anIpv6ClientIsA64BitNetwork() {
        RateLimit limit = limit(1, 5, ClientAddress.Source.SOCKET);
        assertThat(admitted(limit, from("2001:db8:1:2::1"))).isEqualTo(5);
        assertThat(admitted(limit, from("2001:db8:1:2:ffff::2"))).isZero();
        assertThat(admitted(limit, from("2001:db8:1:3::1"))).isEqualTo(5);
    }

    @Test
    void addressesRarelyShareALimit() {
        RateLimit limit = limit(1, 1, ClientAddress.Source.SOCKET);
        int admitted = 0;
        for (int i = 0; i < 1_000; i++) {
            admitted += admitted(limit, from("10.1." + i / 250 + "." + i % 250));
        }
        assertThat(admitted)
                .as("on average 8 pairs of 1,000 addresses share a slot")
                .isBetween(960, 1_000);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            false | 203.0.113.7                         | 203.0.113.7
            false | 198.51.100.1, 203.0.113.7           | 203.0.113.7
            false | 198.51.100.1 ,  203.0.113.7:4711    | 203.0.113.7
            false | 2001:db8::1                         | 2001:db8::1
            false | [2001:db8::1]:4711                  | 2001:db8::1
            false | unknown                             |
            false | 203.0.113.7,                        |
            false | example.org                         |
            true  | for=203.0.113.7                     | 203.0.113.7
            true  | for=1.2.3.4, For="[2001:db8::1]:47";proto=https | 2001:db8::1
            true  | proto=https;for=203.0.113.7:80;by=1.2.3.4 | 203.0.113.7
            true  | for=_hidden                         |
            true  | 203.0.113.7                         |
            """)
    void usesTheLastAddressOfTheHeader(boolean forwarded, String header, @Nullable String expected) throws IOException {
        byte[] found = ClientAddress.last(List.of("for=192.0.2.99", header), forwarded);
        if (expected == null) {
            assertThat(found).isNull();
        } else {
            assertThat(found).isEqualTo(InetAddress.getByName(expected).getAddress());
        }
    }

    @Test
    void headersAreTrustedOnlyIfConfigured() {
        RateLimit socket = limit(1, 1, ClientAddress.Source.SOCKET);
        assertThat(socket.admits(from("192.0.2.1", "X-Forwarded-For", "203.0.113.1")))
                .isTrue();
        assertThat(socket.admits(from("192.0.2.1", "X-Forwarded-For", "203.0.113.2")))
                .isFalse();
        RateLimit header = limit(1, 1, ClientAddress.Source.X_FORWARDED_FOR);
        assertThat(header.admits(from("192.0.2.1", "X-Forwarded-For", "203.0.113.1")))
                .isTrue();
        assertThat(header.admits(from("192.0.2.1", "X-Forwarded-For", "203.0.113.2")))
                .isTrue();
        assertThat(header.admits(from("192.0.2.2", "X-Forwarded-For", "203.0.113.2")))
                .isFalse();
        assertThat(header.admits(from("192.0.2.2", "Forwarded", "for=203.0.113.2")))
                .isTrue();
    }

    @Test
    void refusesEverythingButHealthAndPeersOverTheLimit(@TempDir Path folder) throws IOException {
        String token = "peers-0123456789abcdef";
        Path peers = Files.writeString(folder.resolve("peers"), token);
        try (Service service = Service.start(
                folder.resolve("data"),
                "counter.rate-limit",
                "1",
                "counter.rate-burst",
                "2",
                "counter.tokens.peers",
                peers.toString())) {
            try (Raw raw = new Raw(service.port())) {
                String request = "POST /count HTTP/1.1\nHost: a\n\n";
                String answers = raw.sendLines(request.repeat(29) + request.replace("\n\n", "\nConnection: close\n\n"))
                        .readToEnd();
                assertThat(statuses(answers)).contains("200", "429");
                assertThat(answers).containsIgnoringCase("retry-after: 1");
            }
            for (int i = 0; i < 30; i++) {
                assertThat(service.send("GET", "/health/liveness").statusCode()).isEqualTo(200);
                assertThat(service.send("GET", "/count", "Authorization", "Bearer " + token)
                                .statusCode())
                        .isEqualTo(200);
            }
            var refused = service.send("GET", "/");
            for (int i = 0; i < 1_000 && refused.statusCode() != 429; i++) {
                refused = service.send("GET", "/");
            }
            assertProblem(refused, 429, "too-many-requests", "not-applied");
            assertThat(refused.headers().firstValue("Retry-After")).contains("1");
        }
    }

    private static List<String> statuses(String answers) {
        return Pattern.compile("HTTP/1.1 (\\d+)")
                .matcher(answers)
                .results()
                .map(found -> found.group(1))
                .toList();
    }
}
