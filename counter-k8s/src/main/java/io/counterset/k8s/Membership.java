// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import io.micronaut.serde.annotation.Serdeable;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * A snapshot from a source of peers: the expected replicas and the addresses of the listed ones.
 *
 * @param source the kind of source and the state of its list
 * @param expected the expected replicas
 * @param members the listed replicas, possibly including this one; no two have the same address
 */
record Membership(PeersReport.Source source, Expected expected, List<Member> members) {

    Membership {
        members = List.copyOf(members);
    }

    boolean isLive() {
        return source.state() == PeersReport.Freshness.LIVE;
    }

    /** Returns whether a member is identified by its address, whichever instance answers there. */
    boolean isByAddress() {
        return source.kind() == PeersReport.Kind.STATIC;
    }

    Membership with(PeersReport.Source other) {
        return new Membership(other, expected, members);
    }

    /**
     * The expected replicas.
     *
     * @param names their known names, possibly none
     * @param atLeast their minimum number
     * @param exact whether {@code names} is complete; if not, every listed address may be another
     *     replica
     * @param known whether their number is known; if not, no report can be complete
     * @param revision the revision of the StatefulSet that defines them; null if there is none
     * @param deletesClaims whether scaling a replica away deletes its volume
     */
    record Expected(
            Set<String> names,
            int atLeast,
            boolean exact,
            boolean known,
            @Nullable Revision revision,
            boolean deletesClaims) {

        Expected {
            names = Set.copyOf(names);
        }

        private Expected(Set<String> names, int atLeast, boolean exact, boolean known) {
            this(names, atLeast, exact, known, null, false);
        }

        /**
         * Exactly the replicas of a StatefulSet. Beyond 5,000 only the first 5,000 are named, and
         * no report is complete.
         */
        static Expected statefulSet(
                String name, int start, int replicas, @Nullable Revision revision, boolean deletesClaims) {
            boolean all = replicas <= PeersSettings.MOST_PEERS;
            return new Expected(
                    names(name, start, Math.min(replicas, PeersSettings.MOST_PEERS)),
                    replicas,
                    all,
                    all,
                    revision,
                    deletesClaims);
        }

        /**
         * The number of replicas in the setting, or more if more are listed, with ordinal names if
         * {@code base} is known.
         */
        static Expected number(@Nullable Integer setting, @Nullable String base) {
            int number = setting == null ? 0 : setting;
            return new Expected(base == null ? Set.of() : names(base, 0, number), number, false, setting != null);
        }

        /**
         * As above, but never {@code known}, because the source of the true number does not answer.
         */
        static Expected unknown(@Nullable Integer setting, @Nullable String base) {
            Expected guess = number(setting, base);
            return new Expected(guess.names(), guess.atLeast(), false, false);
        }

        /** All listed replicas, or more if the setting says so. */
        static Expected listed(@Nullable Integer setting) {
            return new Expected(Set.of(), setting == null ? 0 : setting, false, true);
        }

        private static Set<String> names(String base, int start, int replicas) {
            Set<String> names = new LinkedHashSet<>();
            for (int i = 0; i < replicas; i++) {
                names.add(base + "-" + (start + i));
            }
            return names;
        }
    }

    /**
     * A revision of a StatefulSet's specification.
     *
     * @param uid distinguishes the StatefulSet from an earlier one of the same name
     * @param generation increases by one whenever the specification changes, including its number
     *     of replicas
     */
    @Serdeable
    record Revision(String uid, long generation) {

        /** Returns whether no revision lies between the earlier one and this one. */
        boolean follows(Revision before) {
            return uid.equals(before.uid) && (generation == before.generation || generation == before.generation + 1);
        }
    }

    /**
     * A listed replica.
     *
     * @param instance the name that it must answer with; null if the source lists only addresses
     * @param address host and port
     * @param phase its phase according to the source
     */
    record Member(@Nullable String instance, String address, Phase phase) {}

    /**
     * A member's phase according to the source. Only {@link #TERMINATING} is reliable; otherwise
     * the member's own answer decides.
     */
    enum Phase {
        /** It serves, or the source does not know. */
        SERVING,
        /** It has not served at this address since it was first listed there. */
        STARTING,
        /** It is being stopped. */
        TERMINATING
    }
}
