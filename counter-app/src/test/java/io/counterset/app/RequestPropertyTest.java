// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static io.counterset.app.Service.assertProblem;
import static io.counterset.app.Service.json;
import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.CounterStore;
import java.io.IOException;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.Combinators;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import net.jqwik.api.Tuple;
import net.jqwik.api.lifecycle.AfterContainer;
import net.jqwik.api.lifecycle.BeforeContainer;
import org.jspecify.annotations.Nullable;

/** Generated names of counters and generated {@code Accept} headers. */
class RequestPropertyTest {

    private static final String UNRESERVED = "abcXYZ019-._~";
    private static final String PATH = UNRESERVED + "!$&'()*+,;=:@";

    /** The types that each path offers, the first of equally preferred ones first. */
    private static final Map<String, List<String>> OFFERED = Map.of(
            "/", List.of("text/plain", "text/html", "application/json"),
            "/count", List.of("application/json", "text/plain"),
            "/counts", List.of("application/json", "text/plain"),
            "/history", List.of("application/json", "text/csv", "text/plain", "text/html"));

    private static @Nullable Path folder;
    private static @Nullable Service running;

    @BeforeContainer
    static void start() throws IOException {
        folder = Files.createTempDirectory("requests");
        running = Service.start(folder, "counter.create", "1000000");
    }

    @AfterContainer
    static void stop() throws IOException {
        service().close();
        Path made = requireNonNull(folder);
        try (Stream<Path> files = Files.list(made)) {
            for (Path file : files.toList()) {
                Files.delete(file);
            }
        }
        Files.delete(made);
    }

    private static Service service() {
        return requireNonNull(running);
    }

    // ---- names ----

    private static String encode(byte[] name, String plain, Random random) {
        StringBuilder encoded = new StringBuilder();
        for (byte b : name) {
            if (plain.indexOf(b) >= 0 && random.nextInt(3) > 0) {
                encoded.append((char) b);
            } else {
                String digits = random.nextBoolean() ? "%%%02X" : "%%%02x";
                encoded.append(String.format(Locale.ROOT, digits, b));
            }
        }
        return encoded.toString();
    }

    private static byte[] concatenate(List<byte[]> pieces) {
        ByteBuffer bytes =
                ByteBuffer.allocate(pieces.stream().mapToInt(p -> p.length).sum());
        pieces.forEach(bytes::put);
        return bytes.array();
    }

    private static byte[] utf8(int character) {
        return Character.toString(character).getBytes(StandardCharsets.UTF_8);
    }

    /** Names of all kinds: mostly valid UTF-8, with some control characters and some bytes at random. */
    @Provide
    Arbitrary<byte[]> names() {
        Arbitrary<byte[]> reserved = Arbitraries.of("/", "%", "+", "?", "#", " ", "\\", "..", ".", "%2F")
                .map(text -> text.getBytes(StandardCharsets.UTF_8));
        Arbitrary<byte[]> ascii = Arbitraries.integers().between(' ', '~').map(RequestPropertyTest::utf8);
        Arbitrary<byte[]> any = Arbitraries.integers()
                .between(0xA0, Character.MAX_CODE_POINT)
                .filter(c -> c < Character.MIN_SURROGATE || c > Character.MAX_SURROGATE)
                .map(RequestPropertyTest::utf8);
        Arbitrary<byte[]> control = Arbitraries.of(0, 0x0A, 0x0D, 0x7F, 0x85).map(RequestPropertyTest::utf8);
        Arbitrary<byte[]> random = Arbitraries.bytes().map(b -> new byte[] {b});
        Arbitrary<byte[]> valid = Arbitraries.frequencyOf(Tuple.of(2, reserved), Tuple.of(4, ascii), Tuple.of(4, any))
                .list()
                .ofMinSize(1)
                .ofMaxSize(50)
                .map(RequestPropertyTest::concatenate);
        Arbitrary<byte[]> doubtful = Arbitraries.frequencyOf(
                        Tuple.of(6, ascii), Tuple.of(1, control), Tuple.of(1, random))
                .list()
                .ofMinSize(1)
                .ofMaxSize(20)
                .map(RequestPropertyTest::concatenate);
        return Arbitraries.frequencyOf(Tuple.of(2, valid), net.jqwik.api.Tuple.of(1, doubtful));
    }

    /** The bytes in a path name one counter however they are encoded, or none at all. */
    @Property(tries = 300)
    void aNameIsItsBytes(@ForAll("names") byte[] bytes, @ForAll Random random) {
        String name = new String(bytes, StandardCharsets.UTF_8);
        boolean isValid = bytes.length <= 128
                && Arrays.equals(name.getBytes(StandardCharsets.UTF_8), bytes)
                && name.chars().noneMatch(Character::isISOControl);
        CounterStore store = service().bean(CounterStore.class);
        Map<String, Long> before = store.snapshot();
        HttpResponse<String> answer = service().send("POST", "/count/" + encode(bytes, PATH, random));
        if (!isValid) {
            assertProblem(answer, 400, "bad-counter-name", "not-applied");
            assertThat(store.snapshot()).isEqualTo(before);
            return;
        }
        assertThat(answer.statusCode()).as(answer.body()).isEqualTo(200);
        assertThat(json(answer).get("counter").getStringValue()).isEqualTo(name);
        long count = before.getOrDefault(name, 0L) + 1;
        assertThat(store.snapshot())
                .hasSize(before.size() + (count == 1 ? 1 : 0))
                .containsEntry(name, count);
        assertThat(json(service().send("GET", "/count/" + encode(bytes, PATH, random)))
                        .get("count")
                        .getLongValue())
                .isEqualTo(count);
        // A page begins with the next name.
        var page = json(service().send("GET", "/counts?limit=1&after=" + encode(bytes, UNRESERVED, random)))
                .get("counters");
        List<String> next = new ArrayList<>();
        page.values().forEach(entry -> next.add(entry.get("counter").getStringValue()));
        assertThat(next)
                .isEqualTo(store.snapshot().keySet().stream()
                        .filter(other -> other.compareTo(name) > 0)
                        .sorted()
                        .limit(1)
                        .toList());
    }

    // ---- Accept ----

    /** A range of types with its quality in thousandths. */
    record Range(String type, int quality) {

        /** Returns how specific this range is about the type, and -1 if it does not contain the type. */
        int specificity(String other) {
            if (type.equals("*/*")) {
                return 0;
            }
            return type.equals(other) ? 2 : type.equals(other.replaceFirst("/.*", "/*")) ? 1 : -1;
        }

        String written(Random random) {
            String space = random.nextInt(4) == 0 ? " " : "";
            String written = random.nextInt(4) == 0 ? type.toUpperCase(Locale.ROOT) : type;
            if (quality == 1_000 && random.nextBoolean()) {
                return written;
            }
            String digits = quality == 1_000 ? "1.000" : String.format(Locale.ROOT, "0.%03d", quality);
            String shortest = random.nextBoolean() ? digits.replaceFirst("\\.?0+$", "") : digits;
            return written + space + ";" + space + (random.nextInt(4) == 0 ? "Q=" : "q=") + shortest;
        }
    }

    @Provide
    Arbitrary<List<Range>> ranges() {
        Arbitrary<String> types = Arbitraries.of(
                "*/*",
                "text/*",
                "application/*",
                "image/*",
                "text/plain",
                "text/html",
                "text/csv",
                "application/json",
                "image/png");
        Arbitrary<Integer> qualities = Arbitraries.of(0, 1, 100, 500, 900, 999, 1_000);
        return Combinators.combine(types, qualities)
                .as(Range::new)
                .list()
                .uniqueElements(Range::type)
                .ofMinSize(1)
                .ofMaxSize(6);
    }

    @Provide
    Arbitrary<String> paths() {
        return Arbitraries.of(OFFERED.keySet());
    }

    private static int quality(List<Range> accepted, String type) {
        int best = -1;
        int quality = 0;
        for (Range range : accepted) {
            if (range.specificity(type) > best) {
                best = range.specificity(type);
                quality = range.quality();
            }
        }
        return quality;
    }

    /** RFC 9110, section 12.5.1. */
    @Property(tries = 300)
    void servesTheTypeOfTheHighestQualityOrRefuses(
            @ForAll("paths") String path, @ForAll("ranges") List<Range> accepted, @ForAll Random random) {
        List<String> headers = new ArrayList<>();
        StringBuilder line = new StringBuilder();
        for (Range range : accepted) {
            if (!line.isEmpty() && random.nextInt(4) == 0) { // several lines are one list
                headers.addAll(List.of("Accept", line.toString()));
                line.setLength(0);
            }
            line.append(line.isEmpty() ? "" : random.nextBoolean() ? ", " : ",").append(range.written(random));
        }
        headers.addAll(List.of("Accept", line.toString()));
        String expected = null;
        for (String type : requireNonNull(OFFERED.get(path))) {
            if (quality(accepted, type) > (expected == null ? 0 : quality(accepted, expected))) {
                expected = type;
            }
        }
        HttpResponse<String> answer = service().send("GET", path, headers.toArray(String[]::new));
        if (expected == null) {
            assertProblem(answer, 406, "not-acceptable", "not-applied");
        } else {
            assertThat(answer.statusCode()).as("%s: %s", headers, answer.body()).isEqualTo(200);
            assertThat(answer.headers().firstValue("Content-Type").orElse("").replaceFirst(";.*", ""))
                    .as(headers.toString())
                    .isEqualTo(expected);
        }
    }
}
