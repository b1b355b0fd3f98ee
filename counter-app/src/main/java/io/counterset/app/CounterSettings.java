// SPDX-License-Identifier: Apache-2.0
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
 * The settings {@code counter.*} except {@code counter.peers.*}, and the port. Immutable. Every
 * value is checked when it is read, and an invalid one fails the start.
 *
 * @param directory {@code counter.directory}: the directory of the counts; default {@code data}
 * @param name {@code counter.name}: the main counter, to which {@code /} adds; default
 *     {@code visits}
 * @param instance {@code counter.instance}: this replica's own name; default: the host name, in a
 *     pod the pod's name
 * @param durability {@code counter.durability}: {@code sync} or a duration such as {@code 100ms};
 *     default {@code sync}
 * @param maxPending {@code counter.max-pending}: the maximum number of increments waiting for the
 *     disk, beyond which more are refused with a 503, 1 to 100,000; default 4,096, which take about
 *     40 MB including their connections
 * @param maxConnections {@code counter.max-connections}: the maximum number of open connections,
 *     beyond which a new one replaces an idle one, 16 to 100,000; default 4,096
 * @param create {@code counter.create}: the counters that clients may create: a maximum number of
 *     all counters, 0 to 1,000,000, or a list of names; default 1,000
 * @param maxAmount {@code counter.max-amount}: the largest amount of one request, 1 to 2^62;
 *     default 1,000,000
 * @param metrics {@code counter.metrics.counters}: the counters exported as metrics by name,
 *     separated by commas, at most 1,000; default: the main counter
 * @param idempotency {@code counter.idempotency.max-keys} and {@code .max-age}: default 100,000
 *     keys and 24 hours
 * @param countFileAhead {@code counter.count-file-ahead}: the count to use if {@code count.txt} is
 *     ahead of the journal, {@code journal} or {@code file}; default {@code refuse}, which fails
 *     the start
 * @param rate {@code counter.rate-limit}, {@code .rate-burst} and {@code .rate-address}: the number
 *     of requests per second allowed for one client address; default: unlimited
 * @param managementPort {@code counter.management-port}: the port of health and metrics, 1 to
 *     65535; default 0: the main port
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
     * The number of requests allowed for one client address.
     *
     * @param limit requests per second; 0 for unlimited
     * @param burst requests in one burst
     * @param source the source of the client's address
     */
    record Rate(int limit, int burst, ClientAddress.Source source) {}

    /**
     * The counters that clients may create.
     *
     * @param most the number of counters on this replica at which clients may not create any more
     * @param names the only ones that clients may create; empty for any
     */
    record Create(int most, Set<String> names) {}

    static final String RATE_LIMIT = "counter.rate-limit";
    static final String MANAGEMENT_PORT = "counter.management-port";

    private static final int MAX_NAME_BYTES = 128;

    /**
     * Bytes of heap that a counter takes while the store opens. The next constant is for a key of
     * 36 characters.
     */
    private static final long COUNTER_BYTES = 200;

    private static final long KEY_BYTES = 320;
    private static final int MAX_METRICS = 1_000;

    /**
     * Reads the settings. Absent and empty settings get their defaults.
     *
     * @throws IllegalArgumentException if a value is invalid; the message names the setting, the
     *     value and what is expected
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

    /**
     * Returns an estimate of the most bytes that counters and keys may take under these settings
     * while the store opens.
     */
    long mostBytes() {
        return create.most() * COUNTER_BYTES + idempotency.maxKeys() * KEY_BYTES;
    }

    /**
     * A setting of the log, which is configured before other settings are read: a system property
     * or an environment variable.
     */
    record LogSetting(String name, List<String> expected) {

        /** Returns the stripped value; empty if it is not set. */
        String value() {
            String property = System.getProperty(name, "").strip();
            return property.isEmpty()
                    ? System.getenv().getOrDefault(Settings.variable(name), "").strip()
                    : property;
        }

        /**
         * Returns normally if the value is valid.
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
                .completionExecutor(Runnable::run) // each answer continues on its connection's event loop
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

        /** Requires the certificate and the key to be set together. */
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
            ClientAddress.Source source = switch (address) {
                case "socket" -> ClientAddress.Source.SOCKET;
                case "forwarded" -> ClientAddress.Source.FORWARDED;
                case "x-forwarded-for" -> ClientAddress.Source.X_FORWARDED_FOR;
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
            return "localhost"; // the machine has no resolvable name
        }
    }

    private static boolean isCounterName(String name) {
        return !name.isEmpty() && name.getBytes(StandardCharsets.UTF_8).length <= MAX_NAME_BYTES && !hasControls(name);
    }

    private static boolean hasControls(String text) {
        return text.chars().anyMatch(Character::isISOControl);
    }
}
