package io.counterset.k8s;

import com.fasterxml.jackson.annotation.JsonProperty;
import io.counterset.CounterStore;
import io.micronaut.serde.annotation.Serdeable;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/**
 * This replica, as its host describes it to this module: the one bean an application must provide. Thread-safe.
 */
public final class Replica {

    private final String instance;
    private final CounterStore store;
    private final String mainCounter;
    private final int port;
    private final String contextPath;
    private final @Nullable String group;
    private volatile boolean sealed;

    /** How much of each count was given back after a loss. */
    private volatile Map<String, Long> restored = Map.of();

    /**
     * A replica without a context path that does not know its group, and so takes part in a report with peers of every group.
     *
     * @see #Replica(String, CounterStore, String, int, String, String)
     */
    public Replica(String instance, CounterStore store, String mainCounter, int port) {
        this(instance, store, mainCounter, port, "", null);
    }

    /**
     * Describes this replica.
     *
     * @param instance this replica's own name, 1 to 253 printable characters; in a pod, the pod's name
     * @param store the counters of this replica; the module adds to them in {@link Peers#restore} only, and closes them in
     *     {@link #seal()} only
     * @param mainCounter the name of the counter that a report is about unless another one is requested
     * @param port the port on which every replica answers {@code GET /count/{name}}, 1 to 65535; used where a source of peers
     *     gives addresses without ports
     * @param contextPath what comes before {@code /count/{name}} in that path on every replica: empty, or one that begins with a
     *     slash and does not end with one
     * @param group the name that all replicas of one set share and no other replica has, such as {@code namespace/set}, 1 to 253
     *     printable characters; null if it is not known. A replica that knows its group refuses the counts of every other group
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
        store.counter(mainCounter); // refuses a bad name; makes nothing
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

    /** Returns what comes before {@code /count/{name}} in that path on every replica; empty for nothing. */
    public String contextPath() {
        return contextPath;
    }

    /** Returns the name of the set of replicas that this one belongs to, or null if it is not known. */
    public @Nullable String group() {
        return group;
    }

    /**
     * Commits what was accepted and closes the store: nothing is added any more, and every count of this process is final from
     * then on. Reads go on. Blocks for a commit; idempotent. If the store had failed, or fails now, its counts are not final:
     * what the disk holds is not known.
     *
     * @throws RuntimeException as {@link CounterStore#close()} does; the store is closed all the same, and not sealed
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
     * Returns what this replica answers to {@code GET /count/{counter}}: the shape that its peers expect. A counter that was
     * never added to has the count 0. Does not block.
     *
     * @throws IllegalArgumentException if the name is not a counter's name
     */
    public Count count(String counter) {
        boolean isFinal = sealed; // read before the count, which cannot grow after it is true
        return count(counter, store.counter(counter).value(), isFinal);
    }

    /** Returns the answer to a request that found, or made, that count of that counter. */
    public Count count(String counter, long count) {
        return count(counter, count, false);
    }

    private Count count(String counter, long count, boolean isFinal) {
        return new Count(
                instance,
                counter,
                count,
                store.identity().id(),
                store.identity().incarnation(),
                isFinal,
                group,
                restored.get(counter));
    }

    void restored(Map<String, Long> amounts) {
        restored = amounts;
    }

    /**
     * Returns whether a replica may be called that: 1 to 253 printable characters without spaces at the ends. Names come from other
     * machines and end in logs and terminals.
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
     * Returns a counter's name as a terminal or a table may show it: a backslash doubled, and characters that are invisible, break
     * lines or turn the direction of the text as <code>\\u202E</code>.
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
     * One durable count of one replica.
     *
     * @param instance the replica that answered
     * @param counter the counter's name
     * @param count its durable value; 0 if it was never added to
     * @param store the identity of the replica's store, made when its directory was first used
     * @param incarnation how often that store has been opened
     * @param isFinal {@code final} in JSON: whether the store is sealed, so that this incarnation of it counts no more
     * @param group the set of replicas that it belongs to; absent if it does not know
     * @param restored how much of the count was given back by a restoration; absent if nothing
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
            @Nullable Long restored) {}
}
