package io.counterset.k8s;

import io.counterset.k8s.Membership.Revision;
import io.micronaut.serde.annotation.Serdeable;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * What is known of a peer. Immutable.
 *
 * @param key what it is remembered by: its name, or its address where a list has addresses only
 * @param instance its name
 * @param address where it was last seen
 * @param group the set of replicas that it said it belongs to; null if it did not say
 * @param kept whether it was found to be scaled away while volumes are kept
 * @param stores its stores, the one seen last first; at least one
 */
@Serdeable
record Known(
        String key,
        String instance,
        String address,
        @Nullable String group,
        boolean kept,
        List<Store> stores) {

    Known {
        stores = List.copyOf(stores);
    }

    /** The store that was seen last. */
    Store store() {
        return stores.get(0);
    }

    Known with(Store latest) {
        return new Known(
                key,
                instance,
                address,
                group,
                kept,
                Stream.concat(Stream.of(latest), stores.stream().skip(1)).toList());
    }

    Known kept(boolean now) {
        return new Known(key, instance, address, group, now, stores);
    }

    /**
     * One store of a peer.
     *
     * @param id its identity
     * @param incarnation how often it had been opened
     * @param since since when it is known as the peer's store
     * @param seenAt when it was last seen
     * @param counts what was last counted in it
     * @param loss what it was found to have lost; null if nothing
     * @param revision the StatefulSet's version up to which this is known; null if there is none
     * @param closed whether it was sealed, and up to {@code revision} nothing can have opened it again
     */
    @Serdeable
    record Store(
            UUID id,
            long incarnation,
            Instant since,
            Instant seenAt,
            Map<String, Seen> counts,
            @Nullable Loss loss,
            @Nullable Revision revision,
            boolean closed) {

        /** An empty map is not written, and so reads as null. */
        Store {
            counts = counts == null ? Map.of() : Map.copyOf(counts);
        }

        @Nullable
        Seen seen(String counter) {
            return counts.get(counter);
        }

        /** Returns whether something that was lost was given back in it. */
        boolean hasRestored() {
            return counts.values().stream().anyMatch(seen -> seen.restored() > 0);
        }

        /** Returns whether the count last seen is the last one there is. */
        boolean isFinal(String counter) {
            Seen seen = seen(counter);
            return closed && seen != null && seen.isFinal();
        }

        Store closedUpTo(Revision now) {
            return new Store(id, incarnation, since, seenAt, counts, loss, now, true);
        }

        /** The store may have been opened again, so that no count of it is final. */
        Store opened() {
            return new Store(id, incarnation, since, seenAt, opened(counts), loss, revision, false);
        }

        static Map<String, Seen> opened(Map<String, Seen> counts) {
            Map<String, Seen> opened = new HashMap<>(counts);
            opened.replaceAll((counter, seen) -> seen.opened());
            return opened;
        }

        Store with(Map<String, Seen> others) {
            return new Store(id, incarnation, since, seenAt, others, loss, revision, closed);
        }
    }

    /**
     * One count of a store.
     *
     * @param count the count last seen
     * @param at when it was seen
     * @param isFinal whether the store was sealed with it
     * @param lost by how much it was found to have fallen, in all
     * @param restored how much of the count was given back of what other stores, or this one, had lost
     * @param highest the highest count that was seen
     */
    @Serdeable
    record Seen(long count, Instant at, boolean isFinal, long lost, long restored, long highest) {

        Seen {
            highest = Math.max(highest, count);
        }

        Seen(long count, Instant at) {
            this(count, at, false, 0, 0, count);
        }

        /** What was counted in this store, without what was given back. */
        long own() {
            return Math.max(0, count - restored);
        }

        /** Returns the next count; what was given back and went with it is no further loss. */
        Seen then(long next, Instant nextAt, boolean nextIsFinal, long nextRestored) {
            long fallen = Math.max(0, count - next) - Math.max(0, restored - nextRestored);
            return new Seen(next, nextAt, nextIsFinal, lost + Math.max(0, fallen), nextRestored, highest);
        }

        Seen opened() {
            return new Seen(count, at, false, lost, restored, highest);
        }
    }

    /** What a store was found to have lost. */
    @Serdeable
    record Loss(
            Instant foundAt, String counter, long count, long formerCount, long incarnation, long formerIncarnation) {}

    /** Returns what the store seen last has lost, as long as a report shows a loss; null if nothing. */
    @Nullable
    Loss loss(Duration shown, Instant now) {
        Loss loss = store().loss();
        return loss != null && loss.foundAt().plus(shown).isAfter(now) ? loss : null;
    }

    /** Returns the stores that the peer had before, the latest first, as long as a report shows that they were replaced. */
    List<Store> formers(Duration shown, Instant now) {
        int number = 0;
        while (number + 1 < stores.size()
                && stores.get(number).since().plus(shown).isAfter(now)) {
            number++;
        }
        return stores.subList(1, 1 + number);
    }
}
