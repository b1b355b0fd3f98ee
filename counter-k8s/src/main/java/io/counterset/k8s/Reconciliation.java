// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import io.counterset.k8s.Known.Loss;
import io.counterset.k8s.Known.Seen;
import io.counterset.k8s.Known.Store;
import io.counterset.k8s.Membership.Expected;
import io.counterset.k8s.Membership.Member;
import io.counterset.k8s.Membership.Phase;
import io.counterset.k8s.PeerClient.Answer;
import io.counterset.k8s.PeerClient.Counted;
import io.counterset.k8s.PeerClient.Failed;
import io.counterset.k8s.PeersReport.Former;
import io.counterset.k8s.PeersReport.Peer;
import io.counterset.k8s.PeersReport.State;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Derives the state of every replica from three inputs: the membership (the expected replicas), the
 * answers of this round, and the memory of peers. Invariant: the report never claims more than
 * these three inputs support.
 *
 * <p>The steps, each of which leaves to the next what it cannot settle:
 *
 * <ol>
 *   <li>this replica itself, recognised by its name or, if the source lists only addresses, by the
 *       identifier of its process;
 *   <li>answers from the right replicas: compared with what was remembered, then remembered;
 *   <li>members that did not answer, or not as themselves: the last known count, if the member can
 *       be identified;
 *   <li>expected names without a member: missing;
 *   <li>every other remembered peer: retired.
 * </ol>
 *
 * <p>A store is counted once: for the replica that answered with it, otherwise for the replica that
 * was last seen with it.
 */
final class Reconciliation {

    private static final Pattern ORDINAL = Pattern.compile("(?<base>.+)-(?<ordinal>0|[1-9][0-9]{0,8})");

    private final String counter;
    private final Membership membership;
    private final Replica replica;
    private final PeerMemory memory;
    private final Instant now;
    private final Replica.Count own;
    private final Reasons reasons;

    private final List<Row> rows = new ArrayList<>();
    private final Set<String> settled = new HashSet<>();
    private final Map<String, String> addresses = new HashMap<>();
    private final List<Silence> unsettled = new ArrayList<>();

    /** Silent members whose names are unknown. */
    private final List<Silence> nameless = new ArrayList<>();

    /** The addresses at which no replica has served yet. */
    private final Set<String> starting = new HashSet<>();

    private List<Known> remembered = List.of();

    /** The replica for which this report counts a store, by store. */
    private final Map<UUID, String> holders = new HashMap<>();

    private @Nullable Member self;
    private int answered;

    /** Why a member gave no usable count. */
    private sealed interface Silence {
        Member member();

        /** Returns the reason in words for the report. */
        String reason();
    }

    /** The member did not answer, or not with a count. */
    private record NoAnswer(Member member, String reason) implements Silence {}

    /** Another replica answered in its place. */
    private record Impostor(Member member, String reason) implements Silence {}

    /** A row of the report, before the stores counted in other rows are known. */
    private record Row(Peer peer, @Nullable Known known, boolean answered) {}

    private Reconciliation(String counter, Membership membership, Replica replica, PeerMemory memory, Instant now) {
        this.counter = counter;
        this.membership = membership;
        this.replica = replica;
        this.memory = memory;
        this.now = now;
        this.own = replica.count(counter);
        this.reasons = new Reasons(counter, membership);
    }

    /** Returns the report, and remembers the trusted answers. */
    static PeersReport report(
            String counter,
            Membership membership,
            Map<Member, Answer> answers,
            Replica replica,
            PeerMemory memory,
            Instant now) {
        memory.follow(membership, replica);
        Reconciliation reconciliation = new Reconciliation(counter, membership, replica, memory, now);
        reconciliation.settle(answers);
        return reconciliation.report();
    }

    /** Returns the members to ask: all except this replica, if the source lists names. */
    static List<Member> toAsk(Membership membership, Replica replica) {
        return membership.members().stream()
                .filter(member -> !replica.instance().equals(member.instance()))
                .toList();
    }

    /**
     * Returns the members listed with that name or, if the source lists only addresses, at the
     * addresses where a replica of that name was last seen; at most three.
     */
    static List<Member> named(Membership membership, String instance, PeerMemory memory) {
        Set<String> addresses = new HashSet<>();
        memory.all().stream()
                .filter(known -> known.instance().equals(instance))
                .forEach(known -> addresses.add(known.address()));
        return membership.members().stream()
                .filter(member -> member.instance() == null
                        ? addresses.contains(member.address())
                        : member.instance().equals(instance))
                .limit(3)
                .toList();
    }

    /**
     * Returns the membership with the remembered peers as its members, if the source has never
     * received a list.
     */
    static Membership withRemembered(Membership membership, PeerMemory memory) {
        if (membership.source().state() != PeersReport.Freshness.UNAVAILABLE || membership.isByAddress()) {
            return membership;
        }
        List<Member> members = memory.all().stream()
                .filter(known -> known.key().equals(new Known.Key.Name(known.instance())))
                .map(known -> new Member(known.instance(), known.address(), Phase.SERVING))
                .toList();
        return new Membership(membership.source(), membership.expected(), members);
    }

    /**
     * Returns the name of the StatefulSet if the instance is named like one of its pods; otherwise
     * null.
     */
    static @Nullable String base(String instance) {
        Matcher matcher = ORDINAL.matcher(instance);
        return matcher.matches() ? matcher.group("base") : null;
    }

    private void settle(Map<Member, Answer> answers) {
        holders.put(own.store(), own.instance());
        for (Member member : membership.members()) {
            Answer answer = answers.get(member);
            if (replica.instance().equals(member.instance())) {
                self = member;
            } else if (answer instanceof Counted counted) {
                onAnswer(member, counted);
            } else {
                unsettled.add(
                        new NoAnswer(member, answer instanceof Failed failed ? failed.reason() : Reasons.NOT_ASKED));
            }
        }
        remembered = memory.all();
        unsettled.forEach(this::onSilence);
        memory.stillStarting(starting);
        addSelf();
        addNameless();
        for (String name : membership.expected().names()) {
            if (!name.equals(replica.instance()) && settled.add(name)) {
                addLastKnown(State.MISSING, Reasons.MISSING, name, null, recalled(new Known.Key.Name(name)));
            }
        }
        for (Known known : remembered) {
            if (isOfThisSource(known) && !settled.contains(known.key().label()) && !isSelf(known)) {
                addUnlisted(known);
            }
        }
        for (String name : memory.neverSeen()) {
            if (!membership.isByAddress() && isOfThisSet(name) && settled.add(name)) {
                addLastKnown(State.RETIRED, reasons.scaledDown() + "; it was never seen", name, null, null);
            }
        }
    }

    // Members that answered

    private void onAnswer(Member member, Counted answer) {
        Replica.Count count = answer.count();
        if (member.instance() == null && isSelf(count) && self == null) {
            self = member;
            if (membership.isByAddress()) {
                memory.observe(
                        key(member, count.instance()),
                        member.address(),
                        count,
                        answer.at(),
                        answer.order(),
                        null,
                        false);
            }
            return;
        }
        String mismatch = mismatch(member, count);
        if (mismatch != null) {
            unsettled.add(new Impostor(member, "answered as " + mismatch));
            return;
        }
        addresses.put(identity(count), member.address());
        holders.put(count.store(), count.instance());
        boolean expected = isExpected(count.instance());
        Known known = memory.observe(
                key(member, count.instance()),
                member.address(),
                count,
                answer.at(),
                answer.order(),
                membership.isLive() ? membership.expected() : null,
                isLast(member, count));
        settled.add(known.key().label());
        if (expected) {
            answered++;
        }
        State state = State.LIVE;
        String reason = null;
        if (member.phase() == Phase.TERMINATING) {
            state = State.TERMINATING;
            reason = Reasons.TERMINATING;
        } else if (!expected) {
            state = State.TERMINATING;
            reason = reasons.scaledDown();
        }
        rows.add(new Row(
                new Peer(
                        count.instance(),
                        member.address(),
                        state,
                        reason,
                        count.count(),
                        answer.at(),
                        count.isFinal(),
                        Math.round(answer.millis() * 100) / 100.0,
                        count.store(),
                        count.incarnation(),
                        null,
                        null,
                        count.lastMinute()),
                known,
                true));
    }

    /**
     * Returns whether this count is final until the set is scaled up again: the store is sealed,
     * the pod is being deleted, so its container does not restart, and the StatefulSet creates no
     * other pod of that name.
     */
    private boolean isLast(Member member, Replica.Count count) {
        Expected expected = membership.expected();
        return count.isFinal()
                && membership.isLive()
                && member.phase() == Phase.TERMINATING
                && expected.exact()
                && expected.revision() != null
                && !expected.names().contains(count.instance());
    }

    /**
     * Returns a description of the replica that answered in the member's place, or null if the
     * answer is trusted.
     */
    private @Nullable String mismatch(Member member, Replica.Count count) {
        String name = count.instance();
        if (member.instance() != null && !member.instance().equals(name)) {
            return name;
        }
        if (replica.group() != null && !replica.group().equals(count.group())) {
            return name + (count.group() == null ? ", which reports no group" : " of " + count.group());
        }
        if (member.instance() == null) {
            String other = isSelf(count) && self != null ? self.address() : addresses.get(identity(count));
            if (other != null) {
                return name + ", which is listed as " + other + " too";
            }
            if (!membership.isByAddress()) {
                if (name.equals(replica.instance())) {
                    return name + ", which is the name of the replica that asks";
                } else if (!isOfThisSet(name)) {
                    return name + ", which is not a replica of " + base(replica.instance());
                }
            }
        }
        String holder = holders.get(count.store());
        if (holder != null) {
            return name + " with a copy of the store of " + holder;
        }
        if (!membership.isLive() && !membership.isByAddress()) {
            Known known = recalled(key(member, name));
            if (known != null && !known.store().id().equals(count.store())) {
                return name + " with another store, which is ignored while the list of peers is stale";
            }
        }
        return null;
    }

    // Members that did not answer

    private void onSilence(Silence silence) {
        Member member = silence.member();
        Known known = known(silence);
        if (known != null && isSelf(known)) {
            self = member;
            return;
        }
        String instance = member.instance() != null ? member.instance() : known == null ? null : known.instance();
        if (instance == null && !membership.isByAddress() && silence instanceof NoAnswer) {
            nameless.add(silence);
            return;
        }
        if (known != null) {
            settled.add(known.key().label());
        } else if (instance != null) {
            settled.add(instance);
        }
        State state = State.UNREACHABLE;
        String reason = silence.reason();
        if (member.phase() == Phase.TERMINATING) {
            state = State.TERMINATING;
            reason = Reasons.TERMINATING + "; " + reason;
        } else if (instance != null && !isExpected(instance)) {
            state = State.TERMINATING;
            reason = reasons.scaledDown() + "; " + reason;
        } else if (member.phase() == Phase.STARTING
                && silence instanceof NoAnswer
                && (known == null || !known.address().equals(member.address()))) {
            state = State.STARTING;
            starting.add(member.address());
            reason = Reasons.starting(Duration.between(memory.startingSince(member.address(), now), now)) + "; "
                    + reason;
        }
        addLastKnown(state, reason, instance, member.address(), known);
    }

    /**
     * A silent address without a name most likely belongs to a replica that was not found
     * elsewhere, such as one that restarted at a new address. Both become one row. With several of
     * each, the report does not say which replica is at which address.
     */
    private void addNameless() {
        List<String> absent = new ArrayList<>();
        for (String name : membership.expected().names()) {
            if (!name.equals(replica.instance()) && !settled.contains(name)) {
                absent.add(name);
            }
        }
        if (!membership.expected().known()) {
            remembered.stream()
                    .filter(known -> isOfThisSource(known)
                            && !settled.contains(known.key().label())
                            && !isSelf(known))
                    .map(Known::instance)
                    .filter(name -> !absent.contains(name))
                    .forEach(absent::add);
        }
        absent.sort(Reconciliation::compareNaturally);
        for (Silence silence : nameless) {
            boolean only = absent.size() == 1 && nameless.size() == 1;
            if (absent.isEmpty()) {
                addLastKnown(
                        State.UNREACHABLE,
                        silence.reason(),
                        null,
                        silence.member().address(),
                        null);
            } else {
                String name = absent.remove(0);
                settled.add(name);
                addLastKnown(
                        State.UNREACHABLE,
                        only ? silence.reason() : Reasons.oneOf(nameless.size(), silence.reason()),
                        name,
                        only ? silence.member().address() : null,
                        recalled(new Known.Key.Name(name)));
            }
        }
    }

    private @Nullable Known known(Silence silence) {
        Member member = silence.member();
        if (member.instance() != null || membership.isByAddress()) {
            return recalled(key(member, member.instance()));
        }
        // The source lists only addresses: assume the peer last seen there, unless it is now known
        // to be elsewhere.
        for (Known known : remembered) {
            if (isOfThisSource(known)
                    && known.address().equals(member.address())
                    && !settled.contains(known.key().label())
                    && silence instanceof NoAnswer) {
                return known;
            }
        }
        return null;
    }

    private @Nullable Known recalled(Known.Key key) {
        Known known = memory.get(key);
        return known != null && isOfThisSource(known) ? known : null;
    }

    private void addUnlisted(Known known) {
        Expected expected = membership.expected();
        boolean wanted = !expected.known() || (expected.names().isEmpty() && answered < expected.atLeast());
        if (wanted) {
            addLastKnown(State.MISSING, Reasons.UNLISTED, known.instance(), null, known);
        } else {
            String reason = membership.isByAddress() ? Reasons.notInList(known) : reasons.scaledDown();
            addLastKnown(State.RETIRED, reason, known.instance(), null, known);
        }
    }

    private void addLastKnown(
            State state, String reason, @Nullable String instance, @Nullable String address, @Nullable Known known) {
        Store store = known == null ? null : known.store();
        Seen seen = store == null ? null : store.seen(counter);
        boolean isFinal = membership.isLive() && store != null && store.isFinal(counter);
        rows.add(new Row(
                new Peer(
                        instance,
                        address,
                        state,
                        state != State.RETIRED ? reason : reason + (isFinal ? Reasons.FINAL : Reasons.LAST_KNOWN),
                        seen == null ? null : seen.count(),
                        seen != null ? seen.at() : store == null ? null : store.seenAt(),
                        isFinal,
                        null,
                        store == null ? null : store.id(),
                        store == null ? null : store.incarnation(),
                        null,
                        null,
                        null),
                known,
                false));
    }

    // This replica

    private void addSelf() {
        settled.add(replica.instance());
        boolean expected = isExpected(replica.instance());
        if (expected) {
            answered++;
        }
        State state = State.LIVE;
        String reason = null;
        if (self != null && self.phase() == Phase.TERMINATING) {
            state = State.TERMINATING;
            reason = Reasons.TERMINATING;
        } else if (!expected) {
            state = State.TERMINATING;
            reason = reasons.scaledDown();
        }
        rows.add(new Row(
                new Peer(
                        own.instance(),
                        self == null ? null : self.address(),
                        state,
                        reason,
                        own.count(),
                        now,
                        own.isFinal(),
                        null,
                        own.store(),
                        own.incarnation(),
                        null,
                        null,
                        own.lastMinute()),
                null,
                true));
    }

    /** Whether this process itself answered. A copy of this replica has the same name and store. */
    private boolean isSelf(Replica.Count count) {
        return own.process() != null && own.process().equals(count.process());
    }

    private boolean isSelf(Known known) {
        return known.instance().equals(own.instance()) && known.store().id().equals(own.store());
    }

    // Names and keys

    private boolean isExpected(String instance) {
        Expected expected = membership.expected();
        return !expected.exact() || expected.names().contains(instance);
    }

    /**
     * Returns the identity of a replica. In a list of addresses, several replicas may share a name.
     */
    private String identity(Replica.Count count) {
        return membership.isByAddress() ? count.instance() + " " + count.store() : count.instance();
    }

    private Known.Key key(@Nullable Member member, @Nullable String instance) {
        return membership.isByAddress() && member != null
                ? new Known.Key.Address(member.address())
                : new Known.Key.Name(String.valueOf(instance));
    }

    /**
     * Returns whether the peer belongs to this kind of list and this group, since a volume may
     * remember the peers of another release.
     */
    private boolean isOfThisSource(Known known) {
        boolean sameGroup = replica.group() == null
                || known.group() == null
                || replica.group().equals(known.group());
        return sameGroup
                && (membership.isByAddress()
                        ? known.key() instanceof Known.Key.Address
                        : known.key().equals(new Known.Key.Name(known.instance())) && isOfThisSet(known.instance()));
    }

    private boolean isOfThisSet(String name) {
        String base = base(replica.instance());
        return base == null || base.equals(base(name));
    }

    // The report

    private PeersReport report() {
        Expected expected = membership.expected();
        remembered.stream()
                .filter(this::isOfThisSource)
                .sorted(Comparator.comparing((Known known) -> known.store().seenAt())
                        .reversed())
                .forEach(known ->
                        holders.putIfAbsent(known.store().id(), known.key().label()));
        List<Peer> peers = new ArrayList<>();
        Sum total = new Sum();
        Sum lost = new Sum();
        Sum lastMinute = new Sum();
        boolean allFinal = true;
        for (Row row : rows) {
            Peer peer = finished(row);
            peers.add(peer);
            total.add(peer.count());
            lost.add(peer.lost());
            lastMinute.add(peer.lastMinute());
            boolean wanted = peer.instance() != null && isExpected(peer.instance()) && peer.state() != State.RETIRED;
            allFinal &= row.answered() || wanted || peer.isFinal();
        }
        int number = expected.names().size();
        if (!expected.exact()) {
            Set<String> named = new HashSet<>(expected.names());
            if (!named.isEmpty()) {
                peers.stream()
                        .filter(peer -> peer.instance() != null && peer.state() != State.RETIRED)
                        .forEach(peer -> named.add(peer.instance()));
            }
            int listed = membership.members().size() + (self == null ? 1 : 0);
            number = Math.max(Math.max(expected.atLeast(), named.size()), listed);
        }
        peers.sort(Comparator.comparing(Reconciliation::order, Reconciliation::compareNaturally));
        boolean complete = total.fits && expected.known() && membership.isLive() && answered == number && allFinal;
        return new PeersReport(
                counter,
                total.value,
                complete,
                lost.value,
                own.lastMinute() == null ? null : (Long) lastMinute.value,
                number,
                answered,
                replica.instance(),
                now,
                membership.source(),
                peers);
    }

    /**
     * Completes a row once the holder of each store is known. A store held under another name is
     * neither counted here nor lost.
     */
    private Peer finished(Row row) {
        Peer peer = row.peer();
        Known known = row.known();
        if (known == null) {
            return peer;
        }
        if (!row.answered()
                && !known.key().label().equals(holders.get(known.store().id()))) {
            return new Peer(
                    peer.instance(),
                    peer.address(),
                    peer.state(),
                    Reasons.movedTo(holders.get(known.store().id())),
                    null,
                    null,
                    false,
                    null,
                    null,
                    null,
                    null,
                    null,
                    null);
        }
        List<Store> formers = known.formers(memory.lossShown(), now).stream()
                .filter(store -> !holders.containsKey(store.id()))
                .toList();
        Loss loss = known.loss(memory.lossShown(), now);
        Sum lost = new Sum();
        for (Store store : formers) {
            Seen seen = store.seen(counter);
            lost.add(seen == null ? null : seen.ever());
        }
        Seen seen = known.store().seen(counter);
        if (loss != null && seen != null) {
            lost.add(seen.lost());
        }
        long restored = seen == null ? 0 : seen.restored();
        long missing = Math.max(0, lost.value - restored);
        boolean isRestored = missing == 0 && known.store().hasRestored();
        State state = peer.state();
        String reason = peer.reason();
        if (row.answered() && isRestored && (loss != null || !formers.isEmpty())) {
            state = State.RESTORED;
            reason = reasons.restored(loss != null, restored);
        } else if (row.answered() && loss != null) {
            state = State.ROLLED_BACK;
            reason = Reasons.rolledBack(loss);
        } else if (row.answered() && !formers.isEmpty()) {
            state = State.REPLACED;
            reason = reasons.replaced(known, formers.get(0));
        }
        return new Peer(
                peer.instance(),
                peer.address(),
                state,
                reason,
                peer.count(),
                peer.countedAt(),
                peer.isFinal(),
                peer.latencyMillis(),
                peer.store(),
                peer.incarnation(),
                formers.isEmpty() ? null : former(formers.get(0)),
                missing == 0 ? null : missing,
                peer.lastMinute());
    }

    private Former former(Store store) {
        Seen seen = store.seen(counter);
        return new Former(store.id(), seen == null ? null : seen.count(), store.seenAt());
    }

    /** A sum that stays at {@link Long#MAX_VALUE} once it overflows. */
    private static final class Sum {

        private long value;
        private boolean fits = true;

        void add(@Nullable Long amount) {
            long more = amount == null ? 0 : amount;
            fits &= more <= Long.MAX_VALUE - value;
            value = fits ? value + more : Long.MAX_VALUE;
        }
    }

    private static String order(Peer peer) {
        return peer.label() + "\0" + (peer.address() == null ? "" : peer.address());
    }

    /**
     * Compares runs of digits as numbers, so that app-10 follows app-9 and 10.0.0.2:8080 precedes
     * 10.0.0.10:8080.
     */
    static int compareNaturally(String a, String b) {
        int i = 0;
        int j = 0;
        while (i < a.length() && j < b.length()) {
            int endA = digits(a, i);
            int endB = digits(b, j);
            if (endA > i && endB > j) {
                i = withoutZeros(a, i, endA);
                j = withoutZeros(b, j, endB);
                int order = Integer.compare(endA - i, endB - j);
                for (; order == 0 && i < endA; i++, j++) {
                    order = Character.compare(a.charAt(i), b.charAt(j));
                }
                if (order != 0) {
                    return order;
                }
                i = endA;
                j = endB;
            } else if (a.charAt(i) != b.charAt(j)) {
                return Character.compare(a.charAt(i), b.charAt(j));
            } else {
                i++;
                j++;
            }
        }
        int order = Integer.compare(a.length() - i, b.length() - j);
        return order != 0 ? order : a.compareTo(b);
    }

    private static int withoutZeros(String text, int from, int end) {
        int start = from;
        while (start < end - 1 && text.charAt(start) == '0') {
            start++;
        }
        return start;
    }

    private static int digits(String text, int from) {
        int end = from;
        while (end < text.length() && text.charAt(end) >= '0' && text.charAt(end) <= '9') {
            end++;
        }
        return end;
    }
}
