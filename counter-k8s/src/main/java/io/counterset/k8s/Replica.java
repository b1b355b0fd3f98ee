package io.counterset.k8s;

import io.counterset.CounterStore;
import io.counterset.StoreIdentity;
import io.micronaut.serde.annotation.Serdeable;
import java.util.Locale;
import java.util.Objects;
import java.util.UUID;

/**
 * This replica, as its host describes it to this module: the one bean an application must provide.
 *
 * @param instance this replica's own name, 1 to 253 printable characters; in a pod, the pod's name
 * @param store the counters of this replica; the module reads them and never adds to them
 * @param mainCounter the name of the counter that the report is about when nobody says otherwise
 * @param port the port on which every replica answers {@code GET /count/{name}}, 1 to 65535; used where a source of peers
 *     gives addresses without ports
 * @param contextPath what comes before {@code /count/{name}} in that path on every replica: empty, or one that begins with a slash
 *     and does not end with one
 */
public record Replica(String instance, CounterStore store, String mainCounter, int port, String contextPath) {

    /** A replica without a context path. */
    public Replica(String instance, CounterStore store, String mainCounter, int port) {
        this(instance, store, mainCounter, port, "");
    }

    /** @throws IllegalArgumentException if a value is not as described above */
    public Replica {
        Objects.requireNonNull(store, "store");
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
        store.counter(mainCounter); // refuses a bad name; makes nothing
    }

    /**
     * Returns what this replica answers to {@code GET /count/{counter}}: the shape its peers expect. A counter that was
     * never added to has the count 0. Thread-safe; does not block.
     *
     * @throws IllegalArgumentException if the name is not a counter's name
     */
    public Count count(String counter) {
        StoreIdentity identity = store.identity();
        return new Count(instance, counter, store.counter(counter).value(), identity.id(), identity.incarnation());
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
     * @param instance who answered
     * @param counter the counter's name
     * @param count its durable value; 0 if it was never added to
     * @param store the identity of the replica's store, made when its directory was first used
     * @param incarnation how often that store has been opened
     */
    @Serdeable
    public record Count(String instance, String counter, long count, UUID store, long incarnation) {}
}
