// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The settings {@code counter.peers.*}. Immutable; the constructor checks every value.
 *
 * @param source {@code source}: the source of the list of peers; default {@code auto}
 * @param addresses {@code addresses}: the list of the static source, each {@code host},
 *     {@code host:port} or {@code [ipv6]:port}; default none, which means only this replica; at
 *     most 5,000
 * @param service {@code service}: the headless service of the replicas, for the sources kubernetes
 *     and dns; default none
 * @param statefulSet {@code stateful-set}: the StatefulSet of the replicas; default: this replica's
 *     name without its ordinal
 * @param expected {@code expected}: the expected number of replicas, 1 to 5,000, for the sources
 *     dns and static; default: as many as are listed
 * @param timeout {@code timeout}: how long one peer may take to answer, 10 ms to 30 s; default 1 s
 * @param deadline {@code deadline}: how long all peers together may take, from {@code timeout} to
 *     60 s; default 2 s, or {@code timeout} if that is longer
 * @param concurrency {@code concurrency}: the maximum number of concurrent requests to peers, 1 to
 *     5,000; default 256
 * @param refresh {@code refresh}: how often this replica polls its peers when nobody requests a
 *     report, so that the last known counts stay recent: 1 s to 1 d, or 0 for never; default 60 s
 * @param lossShown {@code loss-shown}: how long the report shows a lost or replaced volume, 0 to
 *     365 d; default 7 d
 * @param directory {@code directory}: the directory of the file {@code counters.peers}, the memory
 *     of peers; default: the setting {@code counter.directory}, or {@code data}
 */
public record PeersSettings(
        Choice source,
        List<String> addresses,
        @Nullable String service,
        @Nullable String statefulSet,
        @Nullable Integer expected,
        Duration timeout,
        Duration deadline,
        int concurrency,
        Duration refresh,
        Duration lossShown,
        Path directory) {

    /** Which source of peers to use. */
    public enum Choice {
        /** The best source that works here. The report says which one was chosen and why. */
        AUTO,
        /** Watches on the Kubernetes API. */
        KUBERNETES,
        /** The DNS records of the headless service. */
        DNS,
        /** The list {@code addresses}. */
        STATIC
    }

    static final int MOST_PEERS = 5_000;

    private static final String PREFIX = "counter.peers.";
    private static final String A_DURATION = "a duration such as 250ms, 2s or 1m";
    private static final String REFRESH = "1s to 1d, or 0s for never";
    private static final Duration DEADLINE = Duration.ofSeconds(2);
    private static final Pattern ADDRESS = Pattern.compile(
            "(?<host>[A-Za-z0-9._-]{1,253}|\\[[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9]+)?])" + "(?::(?<port>[0-9]{1,5}))?");

    /** Labels of a host name. Resolvers accept underscores, which Docker Compose uses. */
    private static final Pattern HOST = Pattern.compile(
            "[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\\.?");

    private static final String OCTET = "(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])";
    private static final Pattern IPV4 = Pattern.compile(OCTET + "(\\." + OCTET + "){3}");
    private static final Pattern DNS_NAME = Pattern.compile("[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\\.?");

    /**
     * @throws IllegalArgumentException if a value is invalid; the message names the setting, the
     *     value and what is expected
     */
    public PeersSettings {
        Objects.requireNonNull(source, "source");
        addresses = List.copyOf(addresses);
        for (String address : addresses) {
            Matcher matcher = ADDRESS.matcher(address);
            if (!matcher.matches()
                    || !isHost(matcher.group("host"))
                    || (matcher.group("port") != null && !isPort(matcher.group("port")))) {
                throw refused(
                        "addresses",
                        address.isEmpty() ? String.join(",", addresses) : address,
                        "host, host:port or [ipv6]:port, separated by commas");
            }
        }
        if (addresses.size() > MOST_PEERS) {
            throw refused("addresses", addresses.size() + " addresses", "at most " + MOST_PEERS);
        }
        checkName("service", service, "the name of a headless service");
        checkName("stateful-set", statefulSet, "the name of a StatefulSet");
        if (service == null && (source == Choice.KUBERNETES || source == Choice.DNS)) {
            throw refused("service", "", "the name of a headless service when " + PREFIX + "source is " + word(source));
        }
        if (expected != null) {
            checkRange("expected", expected, 1, MOST_PEERS);
        }
        checkRange("timeout", timeout, Duration.ofMillis(10), Duration.ofSeconds(30));
        if (!isWithin(deadline, timeout, Duration.ofSeconds(60))) {
            throw refused("deadline", text(deadline), "from " + PREFIX + "timeout (" + text(timeout) + ") to 60s");
        }
        checkRange("concurrency", concurrency, 1, MOST_PEERS);
        if (!refresh.isZero() && !isWithin(refresh, Duration.ofSeconds(1), Duration.ofDays(1))) {
            throw refused("refresh", text(refresh), REFRESH);
        }
        checkRange("loss-shown", lossShown, Duration.ZERO, Duration.ofDays(365));
        Objects.requireNonNull(directory, "directory");
    }

    /**
     * Reads the settings from the configuration. Absent and empty settings get their defaults.
     *
     * @throws IllegalArgumentException if a value is invalid; the message names the setting, the
     *     value and what is expected
     */
    static PeersSettings from(Settings settings) {
        var unused = settings.text(PREFIX + "group"); // marks the setting as known; its default needs the instance
        Duration timeout = settings.duration(PREFIX + "timeout", A_DURATION).orElse(Duration.ofSeconds(1));
        return new PeersSettings(
                choice(settings.text(PREFIX + "source").orElse("auto")),
                settings.list(PREFIX + "addresses"),
                settings.text(PREFIX + "service").orElse(null),
                settings.text(PREFIX + "stateful-set").orElse(null),
                settings.number(PREFIX + "expected", 1, MOST_PEERS)
                        .map(Long::intValue)
                        .orElse(null),
                timeout,
                settings.duration(PREFIX + "deadline", A_DURATION)
                        .orElse(timeout.compareTo(DEADLINE) > 0 ? timeout : DEADLINE),
                settings.number(PREFIX + "concurrency", 1, MOST_PEERS)
                        .map(Long::intValue)
                        .orElse(256),
                settings.duration(PREFIX + "refresh", REFRESH).orElse(Duration.ofSeconds(60)),
                settings.duration(PREFIX + "loss-shown", A_DURATION).orElse(Duration.ofDays(7)),
                settings.directory(PREFIX + "directory")
                        .or(() -> settings.directory("counter.directory"))
                        .orElse(Path.of("data")));
    }

    /**
     * Returns the name of the set of replicas that an instance belongs to:
     * {@code counter.peers.group}, or in a pod {@code NAMESPACE/STATEFULSET}; empty if neither is
     * known.
     *
     * @throws IllegalArgumentException if the setting is not 1 to 253 printable characters
     */
    public static Optional<String> group(Settings settings, String instance) {
        Optional<String> group = settings.text(PREFIX + "group");
        if (group.isPresent()) {
            if (!Replica.isInstanceName(group.get())) {
                throw Settings.invalid(PREFIX + "group", group.get(), "1 to 253 printable characters");
            }
            return group;
        }
        Optional<String> set =
                settings.text(PREFIX + "stateful-set").or(() -> Optional.ofNullable(Reconciliation.base(instance)));
        return settings.text("kubernetes.client.namespace")
                .or(PeersFactory::podNamespace)
                .flatMap(namespace -> set.map(name -> namespace + "/" + name));
    }

    /**
     * Returns {@code host:port} for an address of the list; an address without a port gets the
     * default one.
     */
    static String withPort(String address, int defaultPort) {
        Matcher matcher = ADDRESS.matcher(address);
        return matcher.matches() && matcher.group("port") == null ? address + ":" + defaultPort : address;
    }

    private static Choice choice(String text) {
        for (Choice choice : Choice.values()) {
            if (word(choice).equalsIgnoreCase(text)) {
                return choice;
            }
        }
        throw refused("source", text, "auto, kubernetes, dns or static");
    }

    private static void checkName(String name, @Nullable String value, String allowed) {
        if (value != null && !DNS_NAME.matcher(value).matches()) {
            throw refused(name, value, allowed);
        }
    }

    private static void checkRange(String name, int value, int least, int most) {
        if (value < least || value > most) {
            throw refused(name, Integer.toString(value), least + " to " + most);
        }
    }

    private static void checkRange(String name, Duration value, Duration least, Duration most) {
        if (!isWithin(value, least, most)) {
            throw refused(name, text(value), text(least) + " to " + text(most));
        }
    }

    private static boolean isWithin(Duration value, Duration least, Duration most) {
        return value.compareTo(least) >= 0 && value.compareTo(most) <= 0;
    }

    /**
     * Returns whether the text is a valid host. A host whose last label is a number must be an IPv4
     * address.
     */
    private static boolean isHost(String host) {
        return host.startsWith("[")
                || (host.matches("(.*\\.)?[0-9]+\\.?")
                        ? IPV4.matcher(host).matches()
                        : HOST.matcher(host).matches());
    }

    private static boolean isPort(String text) {
        int port = Integer.parseInt(text);
        return port >= 1 && port <= 65_535;
    }

    private static String word(Choice choice) {
        return choice.name().toLowerCase(Locale.ROOT);
    }

    private static String text(Duration duration) {
        if (duration.toMillis() % 1_000 != 0) {
            return duration.toMillis() + "ms";
        }
        return duration.toSeconds() % 86_400 == 0 && !duration.isZero()
                ? duration.toDays() + "d"
                : duration.toSeconds() + "s";
    }

    private static IllegalArgumentException refused(String name, String value, String expected) {
        return Settings.invalid(PREFIX + name, value, expected);
    }
}
