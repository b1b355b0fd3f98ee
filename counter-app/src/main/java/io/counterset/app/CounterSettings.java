package io.counterset.app;

import io.counterset.CounterStore;
import io.counterset.CounterStore.CountFileAhead;
import io.counterset.Durability;
import io.counterset.IdempotencyWindow;
import io.counterset.k8s.Replica;
import io.counterset.k8s.Settings;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * The settings {@code counter.*} but for {@code counter.peers.*}, and the port. Immutable; every value is checked when it is
 * read, and a bad one stops the start.
 *
 * @param directory {@code counter.directory}: where the counts are kept; default {@code data}
 * @param name {@code counter.name}: the main counter, the one that {@code /} counts; default {@code visits}
 * @param instance {@code counter.instance}: this replica's own name; default: the host name, in a pod the pod's name
 * @param durability {@code counter.durability}: {@code sync} or a duration such as {@code 100ms}; default {@code sync}
 * @param maxPending {@code counter.max-pending}: how many increments may wait for the disk before more are refused with a 503,
 *     1 to 100,000; default 4,096, which with their connections take some 40 MB
 * @param maxConnections {@code counter.max-connections}: how many connections are kept before a new one takes the place of an
 *     idle one, 16 to 100,000; default 4,096
 * @param create {@code counter.create}: which counters clients may create: up to a number in all, 0 to 1,000,000, or those of a
 *     closed list; default 1,000
 * @param maxAmount {@code counter.max-amount}: the largest amount of one request, 1 to 2^62; default 1,000,000
 * @param metrics {@code counter.metrics.counters}: the counters that appear by name among the metrics, separated by commas, at
 *     most 1,000; default: the main counter
 * @param idempotency {@code counter.idempotency.max-keys} and {@code .max-age}: default 100,000 keys and 24 hours
 * @param countFileAhead {@code counter.count-file-ahead}: which count to take when {@code count.txt} is ahead of the journal,
 *     {@code journal} or {@code file}; default {@code refuse}, which does not start
 * @param rate {@code counter.rate-limit}, {@code .rate-burst} and {@code .rate-address}: how many requests a second a client may
 *     send; default: any number
 * @param managementPort {@code counter.management-port}: where health and metrics are, 1 to 65535; default 0: on the port itself
 * @param port {@code micronaut.server.port}: 1 to 65535, or 0 for any free one; default 8080
 */
record CounterSettings(
        Path directory,
        String name,
        String instance,
        Durability durability,
        IdempotencyWindow idempotency,
        int maxPending,
        int maxConnections,
        Create create,
        long maxAmount,
        List<String> metrics,
        CountFileAhead countFileAhead,
        Rate rate,
        int managementPort,
        int port) {

    /**
     * How many requests a client address may send.
     *
     * @param limit a second; 0: any number
     * @param burst at once, after a pause
     * @param source where the address comes from
     */
    record Rate(int limit, int burst, RateLimit.Source source) {}

    /**
     * Which counters clients may create.
     *
     * @param most how many counters this replica may have for a client to create another one
     * @param names the only ones that clients may create; empty: any
     */
    record Create(int most, Set<String> names) {}

    static final String RATE_LIMIT = "counter.rate-limit";
    static final String MANAGEMENT_PORT = "counter.management-port";

    private static final int MAX_NAME_BYTES = 128;

    /** Bytes of heap for a counter, and for a key of 36 characters, while the store opens. */
    private static final long COUNTER_BYTES = 200;

    private static final long KEY_BYTES = 320;
    private static final int MAX_METRICS = 1_000;

    /**
     * Reads the settings; absent and empty ones become their defaults.
     *
     * @throws IllegalArgumentException if a value is invalid; the message names the setting, the value and what is expected
     */
    static CounterSettings from(Settings settings) {
        Source source = new Source(settings);
        String name = source.name();
        int port = (int) source.number("micronaut.server.port", 8080, 0, 65_535);
        source.requireKey();
        return new CounterSettings(
                settings.directory("counter.directory").orElse(Path.of("data")),
                name,
                source.instance(),
                source.durability(),
                source.idempotency(),
                (int) source.number("counter.max-pending", 4_096, 1, 100_000),
                (int) source.number("counter.max-connections", 4_096, 16, 100_000),
                source.create(),
                source.number("counter.max-amount", 1_000_000, 1, 1L << 62),
                source.metrics(name),
                source.countFileAhead(),
                source.rate(),
                source.managementPort(port),
                port);
    }

    /** Returns how many bytes the counters and keys that these settings allow may take while the store opens, by estimate. */
    long mostBytes() {
        return create.most() * COUNTER_BYTES + idempotency.maxKeys() * KEY_BYTES;
    }

    /** A setting of the log, which is set up before the others are read: a property of the JVM, or from the environment. */
    record LogSetting(String name, List<String> expected) {

        /** Returns what is set, without white space around it, or nothing. */
        String value() {
            String property = System.getProperty(name, "").strip();
            return property.isEmpty()
                    ? System.getenv().getOrDefault(Settings.variable(name), "").strip()
                    : property;
        }

        /**
         * Returns if the value is valid.
         *
         * @throws IllegalArgumentException if it is not
         */
        void check() {
            Settings.checkText(name, value());
            if (!value().isEmpty() && !expected.contains(value())) {
                throw Settings.invalid(name, value(), String.join(", ", expected));
            }
        }
    }

    static final LogSetting LOG_FORMAT = new LogSetting("counter.log.format", List.of("text", "json"));
    static final LogSetting LOG_LEVEL =
            new LogSetting("counter.log.level", List.of("error", "warn", "info", "debug", "trace"));

    /** Returns a builder for the store that these settings describe. */
    CounterStore.Builder store() {
        return CounterStore.builder(directory)
                .durability(durability)
                .idempotencyWindow(new IdempotencyWindow(idempotency.maxKeys(), idempotency.maxAge()))
                .maxPending(maxPending)
                .completionExecutor(Runnable::run) // each answer goes on on its connection's event loop
                .countFile(name)
                .countFileAhead(countFileAhead);
    }

    private record Source(Settings settings) {

        String name() {
            String name = settings.text("counter.name").orElse("visits");
            if (!isCounterName(name)) {
                throw Settings.invalid("counter.name", name, "1 to 128 bytes of UTF-8 without control characters");
            }
            return name;
        }

        String instance() {
            Optional<String> set = settings.text("counter.instance");
            String instance = set.orElseGet(CounterSettings::hostName);
            if (!Replica.isInstanceName(instance)) {
                throw Settings.invalid(
                        "counter.instance",
                        instance,
                        "1 to 253 printable characters" + (set.isEmpty() ? "; this is the host name" : ""));
            }
            return instance;
        }

        List<String> metrics(String main) {
            List<String> names = settings.list("counter.metrics.counters").stream()
                    .distinct()
                    .toList();
            if (names.size() > MAX_METRICS || !names.stream().allMatch(CounterSettings::isCounterName)) {
                throw Settings.invalid(
                        "counter.metrics.counters",
                        String.join(",", names),
                        "up to " + MAX_METRICS + " names of counters, separated by commas");
            }
            return names.isEmpty() ? List.of(main) : names;
        }

        Create create() {
            String text = settings.text("counter.create").orElse("1000");
            if (text.matches("[0-9]+")) {
                return new Create((int) number("counter.create", 1_000, 0, 1_000_000), Set.of());
            }
            Set<String> names = Set.copyOf(settings.list("counter.create"));
            if (names.size() > MAX_METRICS || !names.stream().allMatch(CounterSettings::isCounterName)) {
                throw Settings.invalid(
                        "counter.create",
                        text,
                        "a number from 0 to 1000000, or up to " + MAX_METRICS
                                + " names of counters, separated by commas");
            }
            return new Create(0, names);
        }

        Durability durability() {
            String text = settings.text("counter.durability").orElse("sync");
            if (text.equals("sync")) {
                return Durability.SYNC;
            }
            Duration period = Settings.toDuration(text);
            try {
                if (period != null) {
                    return Durability.periodic(period);
                }
            } catch (IllegalArgumentException e) {
                // Too short or too long: refused below.
            }
            throw Settings.invalid("counter.durability", text, "sync, or a duration from 1ms to 1h such as 100ms");
        }

        CountFileAhead countFileAhead() {
            String text = settings.text("counter.count-file-ahead").orElse("refuse");
            return switch (text) {
                case "refuse" -> CountFileAhead.REFUSE;
                case "journal" -> CountFileAhead.KEEP_JOURNAL;
                case "file" -> CountFileAhead.TAKE_FILE;
                default -> throw Settings.invalid("counter.count-file-ahead", text, "refuse, journal or file");
            };
        }

        /** A certificate is of use only with its key. */
        void requireKey() {
            boolean certificate = settings.text(ServerTls.CERTIFICATE).isPresent();
            if (certificate != settings.text(ServerTls.KEY).isPresent()) {
                throw Settings.invalid(
                        certificate ? ServerTls.KEY : ServerTls.CERTIFICATE,
                        "",
                        "the path of a file, since " + (certificate ? ServerTls.CERTIFICATE : ServerTls.KEY)
                                + " is set");
            }
        }

        Rate rate() {
            int limit = (int) number(RATE_LIMIT, 0, 1, 1_000_000);
            int burst = (int) number("counter.rate-burst", Math.max(1, 2L * limit), 1, 1_000_000);
            String address = settings.text("counter.rate-address").orElse("socket");
            RateLimit.Source source = switch (address) {
                case "socket" -> RateLimit.Source.SOCKET;
                case "forwarded" -> RateLimit.Source.FORWARDED;
                case "x-forwarded-for" -> RateLimit.Source.X_FORWARDED_FOR;
                default ->
                    throw Settings.invalid("counter.rate-address", address, "socket, forwarded or x-forwarded-for");
            };
            return new Rate(limit, burst, source);
        }

        int managementPort(int port) {
            int management = (int) number(MANAGEMENT_PORT, 0, 1, 65_535);
            if (management > 0 && management == port) {
                throw Settings.invalid(
                        MANAGEMENT_PORT, Integer.toString(port), "another port than micronaut.server.port");
            }
            return management;
        }

        IdempotencyWindow idempotency() {
            int maxKeys = (int) number("counter.idempotency.max-keys", 100_000, 1, 1_000_000);
            String setting = "counter.idempotency.max-age";
            String expected = "a duration from 1s to 3650d such as 24h";
            Duration maxAge = settings.duration(setting, expected).orElse(Duration.ofHours(24));
            try {
                return new IdempotencyWindow(maxKeys, maxAge);
            } catch (IllegalArgumentException e) { // too short or too long
                throw Settings.invalid(setting, settings.text(setting).orElse(""), expected);
            }
        }

        long number(String setting, long otherwise, long least, long most) {
            return settings.number(setting, least, most).orElse(otherwise);
        }
    }

    private static String hostName() {
        String pod = System.getenv("HOSTNAME");
        if (pod != null && !pod.isBlank()) {
            return pod.strip();
        }
        try {
            return InetAddress.getLocalHost().getHostName();
        } catch (UnknownHostException e) {
            return "localhost"; // a machine that does not know its own name
        }
    }

    private static boolean isCounterName(String name) {
        return !name.isEmpty() && name.getBytes(StandardCharsets.UTF_8).length <= MAX_NAME_BYTES && !hasControls(name);
    }

    private static boolean hasControls(String text) {
        return text.chars().anyMatch(Character::isISOControl);
    }
}
