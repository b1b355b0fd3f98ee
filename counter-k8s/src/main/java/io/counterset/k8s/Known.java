// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import com.fasterxml.jackson.annotation.JsonCreator;
import com.fasterxml.jackson.annotation.JsonValue;
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
 * What this replica remembers about a peer. Immutable.
 *
 * @param key what the peer is remembered by
 * @param instance its name
 * @param address the address at which it was last seen
 * @param group the group that it reported; null if it reported none
 * @param kept whether it was scaled away under a policy that keeps volumes
 * @param stores its stores, the most recently seen first; at least one
 */
@Serdeable
record Known(
        Key key, String instance, String address, @Nullable String group, boolean kept, List<Store> stores) {

    Known {
        stores = List.copyOf(stores);
    }

    /** Returns the most recently seen store. */
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

    /** What a peer is remembered by: its name, or its address if the source lists only addresses. */
    @Serdeable
    sealed interface Key {

        /** Returns the name or the address. */
        String label();

        /** Returns the key as the file has it. */
        @JsonValue
        String text();

        /** Reads a key from the file. */
        @JsonCreator
        static Key of(String text) {
            return text.startsWith(Address.PREFIX)
                    ? new Address(text.substring(Address.PREFIX.length()))
                    : new Name(text.substring(Name.PREFIX.length()));
        }

        record Name(String label) implements Key {

            private static final String PREFIX = "instance ";

            @Override
            public String text() {
                return PREFIX + label;
            }
        }

        record Address(String label) implements Key {

            private static final String PREFIX = "address ";

            @Override
            public String text() {
                return PREFIX + label;
            }
        }
    }

    /**
     * One store of a peer.
     *
     * @param id its identity
     * @param incarnation how many times it had been opened
     * @param since when it was first seen as the peer's store
     * @param seenAt when it was last seen
     * @param counts the last count seen of each counter
     * @param loss the loss that was detected in it; null if none
     * @param revision the StatefulSet's revision up to which this holds; null if there is none
     * @param closed whether it was sealed and cannot have been reopened up to {@code revision}
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

        /** Accepts null for an empty map, which JSON leaves out. */
        Store {
            counts = counts == null ? Map.of() : Map.copyOf(counts);
        }

        @Nullable
        Seen seen(String counter) {
            return counts.get(counter);
        }

        /** Returns whether any lost count was restored in this store. */
        boolean hasRestored() {
            return counts.values().stream().anyMatch(seen -> seen.restored() > 0);
        }

        /** Returns whether the last seen count is final. */
        boolean isFinal(String counter) {
            Seen seen = seen(counter);
            return closed && seen != null && seen.isFinal();
        }

        Store closedUpTo(Revision now) {
            return new Store(id, incarnation, since, seenAt, counts, loss, now, true);
        }

        /**
         * Returns this store as one that may have been reopened, so that none of its counts is
         * final.
         */
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
     * @param count the last seen count
     * @param at when it was seen
     * @param isFinal whether the store was sealed at that count
     * @param lost the sum of all decreases that were detected
     * @param restored how much of the count was restored after this store or another one lost it
     * @param highest the highest count seen
     */
    @Serdeable
    record Seen(long count, Instant at, boolean isFinal, long lost, long restored, long highest) {

        Seen {
            highest = Math.max(highest, count);
        }

        Seen(long count, Instant at) {
            this(count, at, false, 0, 0, count);
        }

        /** Returns what was counted in this store itself, without restored amounts. */
        long own() {
            return Math.max(0, count - restored);
        }

        /**
         * Returns the most that is known to have been counted in this store, with earlier losses.
         */
        long ever() {
            return sum(own(), lost);
        }

        private static long sum(long one, long other) {
            return one > Long.MAX_VALUE - other ? Long.MAX_VALUE : one + other;
        }

        /**
         * Returns the entry after another count was seen. A decrease that only undoes a restoration
         * is not a new loss.
         */
        Seen then(long next, Instant nextAt, boolean nextIsFinal, long nextRestored) {
            long fallen = Math.max(0, count - next) - Math.max(0, restored - nextRestored);
            return new Seen(next, nextAt, nextIsFinal, sum(lost, Math.max(0, fallen)), nextRestored, highest);
        }

        Seen opened() {
            return new Seen(count, at, false, lost, restored, highest);
        }
    }

    /** A loss that was detected in a store. */
    @Serdeable
    record Loss(
            Instant foundAt, String counter, long count, long formerCount, long incarnation, long formerIncarnation) {}

    /**
     * Returns the loss of the most recently seen store; null if there is none or it is too old for
     * a report.
     */
    @Nullable
    Loss loss(Duration shown, Instant now) {
        Loss loss = store().loss();
        return loss != null && loss.foundAt().plus(shown).isAfter(now) ? loss : null;
    }

    /**
     * Returns the peer's former stores, the latest first, except those replaced too long ago for a
     * report.
     */
    List<Store> formers(Duration shown, Instant now) {
        int number = 0;
        while (number + 1 < stores.size()
                && stores.get(number).since().plus(shown).isAfter(now)) {
            number++;
        }
        return stores.subList(1, 1 + number);
    }
}
