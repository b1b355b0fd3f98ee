package io.counterset.k8s;

import io.micronaut.serde.annotation.Serdeable;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * What a source of peers knows at one moment: who should be there, and who is where.
 *
 * @param source the kind of source and how good the list is
 * @param expected who should be there
 * @param members who is where, this replica perhaps among them; no two with the same address
 */
record Membership(PeersReport.Source source, Expected expected, List<Member> members) {

    Membership {
        members = List.copyOf(members);
    }

    boolean isLive() {
        return source.state() == PeersReport.Freshness.LIVE;
    }

    /** Whether a member stands for a place in a list, and so keeps its identity when another instance answers there. */
    boolean isByAddress() {
        return source.kind() == PeersReport.Kind.STATIC;
    }

    Membership with(PeersReport.Source other) {
        return new Membership(other, expected, members);
    }

    /**
     * The replicas that should be there.
     *
     * @param names the names known of them, perhaps none
     * @param atLeast how many there are at least
     * @param exact whether {@code names} are all of them; if not, an address that is listed is one more
     * @param known whether their number is known at all; if not, no report can be complete
     * @param revision the version of what says so; null where versions are not known
     * @param deletesClaims whether the volume of a replica is deleted when it is scaled away
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

        /** Exactly the replicas of a StatefulSet; of more than 5,000 the first ones, and no report is complete then. */
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

        /** As many as a setting says, and more if more are listed; named by ordinals if the base of the names is known. */
        static Expected number(@Nullable Integer setting, @Nullable String base) {
            int number = setting == null ? 0 : setting;
            return new Expected(base == null ? Set.of() : names(base, 0, number), number, false, setting != null);
        }

        /** As above, but not known even if a setting says so: what should know better does not answer. */
        static Expected unknown(@Nullable Integer setting, @Nullable String base) {
            Expected guess = number(setting, base);
            return new Expected(guess.names(), guess.atLeast(), false, false);
        }

        /** All that are listed, or more if a setting says so. */
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
     * A version of a StatefulSet's specification.
     *
     * @param uid tells it from another StatefulSet that had the same name
     * @param generation one more whenever the specification changed, the number of replicas included
     */
    @Serdeable
    record Revision(String uid, long generation) {

        /** Returns whether no version of the StatefulSet lies between the other one, seen before, and this one. */
        boolean follows(Revision before) {
            return uid.equals(before.uid) && (generation == before.generation || generation == before.generation + 1);
        }
    }

    /**
     * A replica with an address.
     *
     * @param instance the name it must answer with; null if the source does not know names
     * @param address host and port
     * @param phase what the source says of it
     */
    record Member(@Nullable String instance, String address, Phase phase) {}

    /** What a source says of a member. Only {@link #TERMINATING} can be trusted; for the rest the member's own answer decides. */
    enum Phase {
        /** Nothing is said against it. */
        SERVING,
        /** It has not served at this address since it was first listed there. */
        STARTING,
        /** It is being stopped. */
        TERMINATING
    }
}
