// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import com.fasterxml.jackson.annotation.JsonProperty;
import io.counterset.CounterStore;
import io.micronaut.serde.annotation.Serdeable;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * This replica, as the application describes it to this module. It is the only bean that an
 * application must provide. Thread-safe.
 */
public final class Replica {

    private final String instance;
    private final CounterStore store;
    private final String mainCounter;
    private final int port;
    private final String contextPath;
    private final @Nullable String group;
    private final UUID process = UUID.randomUUID();
    private volatile boolean sealed;

    /** How much of each count was restored after a loss. */
    private volatile Map<String, Long> restored = Map.of();

    private volatile @Nullable LongSupplier lastMinute;

    /**
     * Describes a replica without a context path or a group. It accepts the counts of peers of
     * every group.
     *
     * @see #Replica(String, CounterStore, String, int, String, String)
     */
    public Replica(String instance, CounterStore store, String mainCounter, int port) {
        this(instance, store, mainCounter, port, "", null);
    }

    /**
     * Describes this replica.
     *
     * @param instance this replica's own name, 1 to 253 printable characters; in a pod, the pod's
     *     name
     * @param store the counters of this replica; this module adds to them only in
     *     {@link Peers#restore}, and closes them only in {@link #seal()}
     * @param mainCounter the name of the counter that a report covers unless another one is
     *     requested
     * @param port the port on which every replica answers {@code GET /count/{name}}, 1 to 65535;
     *     used if a source of peers gives addresses without ports
     * @param contextPath the prefix of {@code /count/{name}} on every replica: empty, or a path
     *     that begins with a slash and does not end with one
     * @param group the name that all replicas of one set share and no other replica has, such as
     *     {@code namespace/set}, 1 to 253 printable characters; null if unknown. A replica with a
     *     group rejects the counts of every other group
     * @throws IllegalArgumentException if a value is not as described above
     */
    public Replica(
            String instance,
            CounterStore store,
            String mainCounter,
            int port,
            String contextPath,
            @Nullable String group) {
        this.store = Objects.requireNonNull(store, "store");
        if (!isInstanceName(instance)) {
            throw new IllegalArgumentException(
                    "the instance must be 1 to 253 printable characters without spaces at its ends, not '" + instance
                            + "'");
        }
        if (port < 1 || port > 65_535) {
            throw new IllegalArgumentException("the port must be 1 to 65535, not " + port);
        }
        if (!contextPath.isEmpty() && (!contextPath.startsWith("/") || contextPath.endsWith("/"))) {
            throw new IllegalArgumentException(
                    "the context path must begin with a slash and not end with one, not '" + contextPath + "'");
        }
        if (group != null && !isInstanceName(group)) {
            throw new IllegalArgumentException(
                    "the group must be 1 to 253 printable characters without spaces at its ends, not '" + group + "'");
        }
        store.counter(mainCounter); // rejects an invalid name; creates nothing
        this.instance = instance;
        this.mainCounter = mainCounter;
        this.port = port;
        this.contextPath = contextPath;
        this.group = group;
    }

    /** Returns this replica's name. */
    public String instance() {
        return instance;
    }

    /** Returns this replica's counters. */
    public CounterStore store() {
        return store;
    }

    /** Returns the name of the main counter. */
    public String mainCounter() {
        return mainCounter;
    }

    /** Returns the port on which replicas serve by default. */
    public int port() {
        return port;
    }

    /** Returns the prefix of {@code /count/{name}} on every replica; empty if there is none. */
    public String contextPath() {
        return contextPath;
    }

    /**
     * Returns the name of the set of replicas that this one belongs to, or null if it is unknown.
     */
    public @Nullable String group() {
        return group;
    }

    /**
     * Commits all accepted adds and closes the store. No further add is accepted, and every count
     * of this process is final; counts can still be read. Blocks for a commit; idempotent. If the
     * store has failed before or fails now, its counts are not final, because the content of the
     * disk is unknown.
     *
     * @throws RuntimeException as {@link CounterStore#close()} does; the store is closed even then,
     *     but not sealed
     */
    public void seal() {
        store.close();
        sealed = store.failure().isEmpty();
    }

    /** Returns whether the store was sealed by {@link #seal()}. */
    public boolean isSealed() {
        return sealed;
    }

    /**
     * Returns this replica's answer to {@code GET /count/{counter}}, in the shape that its peers
     * expect. A counter that was never added to has the count 0. Does not block.
     *
     * @throws IllegalArgumentException if the name is not a valid counter name
     */
    public Count count(String counter) {
        boolean isFinal = sealed; // read before the count, which cannot grow once this is true
        LongSupplier growth = lastMinute;
        Long grown = growth == null || !counter.equals(mainCounter) ? null : (Long) growth.getAsLong();
        return count(counter, store.counter(counter).value(), isFinal, grown);
    }

    /** Returns the answer to a request that read or produced the given count. */
    public Count count(String counter, long count) {
        return count(counter, count, false, null);
    }

    private Count count(String counter, long count, boolean isFinal, @Nullable Long lastMinute) {
        return new Count(
                instance,
                counter,
                count,
                store.identity().id(),
                store.identity().incarnation(),
                isFinal,
                group,
                restored.get(counter),
                process,
                lastMinute);
    }

    /**
     * Includes the growth of the main counter in {@link #count(String)} and in reports from now on.
     *
     * @param growth returns how much the main counter grew in the last 60 seconds; must not block
     */
    public void reportLastMinute(LongSupplier growth) {
        lastMinute = Objects.requireNonNull(growth, "growth");
    }

    void restored(Map<String, Long> amounts) {
        restored = amounts;
    }

    /**
     * Returns whether the text is a valid instance name: 1 to 253 printable characters without
     * spaces at the ends. Names come from other machines and end up in logs and terminals.
     */
    public static boolean isInstanceName(String name) {
        return !name.isEmpty()
                && name.length() <= 253
                && name.equals(name.strip())
                && name.codePoints()
                        .noneMatch(c -> Character.isISOControl(c)
                                || Character.getType(c) == Character.FORMAT
                                || Character.getType(c) == Character.LINE_SEPARATOR
                                || Character.getType(c) == Character.PARAGRAPH_SEPARATOR
                                || Character.getType(c) == Character.SURROGATE);
    }

    /**
     * Returns a counter's name escaped for a terminal or a table. A backslash is doubled; a
     * character that is invisible, breaks the line or changes the text's direction is shown like
     * <code>\\u202E</code>.
     */
    public static String escaped(String name) {
        if (name.chars().allMatch(c -> c >= ' ' && c < 0x7F && c != '\\')) {
            return name;
        }
        StringBuilder shown = new StringBuilder();
        name.codePoints().forEach(c -> {
            switch (Character.getType(c)) {
                case Character.CONTROL,
                        Character.FORMAT,
                        Character.LINE_SEPARATOR,
                        Character.PARAGRAPH_SEPARATOR,
                        Character.PRIVATE_USE,
                        Character.UNASSIGNED,
                        Character.SURROGATE ->
                    shown.append(String.format(Locale.ROOT, c > 0xFFFF ? "\\U%08X" : "\\u%04X", c));
                default -> shown.append(c == '\\' ? "\\\\" : Character.toString(c));
            }
        });
        return shown.toString();
    }

    /**
     * Encodes the name of a counter or an instance as one path segment or as a query value. The
     * names {@code .} and {@code ..} are encoded too, since they would otherwise be resolved as
     * relative segments.
     */
    public static String encoded(String name) {
        String encoded = URLEncoder.encode(name, StandardCharsets.UTF_8).replace("+", "%20");
        return name.equals(".") || name.equals("..") ? encoded.replace(".", "%2E") : encoded;
    }

    /**
     * One durable count of one replica.
     *
     * @param instance the replica that answered
     * @param counter the counter's name
     * @param count its durable value; 0 if it was never added to
     * @param store the identity of the replica's store, made when its directory was first used
     * @param incarnation how many times that store has been opened
     * @param isFinal {@code final} in JSON: whether the store is sealed, so that this incarnation
     *     no longer counts
     * @param group the set of replicas that it belongs to; absent if unknown
     * @param restored how much of the count was restored after a loss; absent if nothing
     * @param process drawn at random when the answering process started: it distinguishes a replica
     *     from a copy of it, which has the same name and the same store; absent if unknown
     * @param lastMinute how much the count grew in the last 60 seconds; absent if unknown, as for
     *     every counter except the main one
     */
    @Serdeable
    public record Count(
            String instance,
            String counter,
            long count,
            UUID store,
            long incarnation,
            @JsonProperty("final") boolean isFinal,
            @Nullable String group,
            @Nullable Long restored,
            @Nullable UUID process,
            @Nullable Long lastMinute) {}
}
