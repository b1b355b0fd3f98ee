package io.counterset.k8s;

import io.counterset.k8s.Membership.Expected;
import io.counterset.k8s.Membership.Member;
import io.counterset.k8s.Membership.Phase;
import io.counterset.k8s.PeerClient.Answer;
import io.counterset.k8s.PeerClient.Counted;
import io.counterset.k8s.PeerClient.Failed;
import io.counterset.k8s.PeersReport.Former;
import io.counterset.k8s.PeersReport.Peer;
import io.counterset.k8s.PeersReport.State;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Compares who should be there (the membership), who answered what just now, and what is remembered, and says what that makes of
 * every replica. The one rule above all others: the report never claims more than these three can bear.
 *
 * <p>In this order, each step leaving to the next what it cannot settle:
 *
 * <ol>
 *   <li>this replica itself, known by its name or, where the source knows no names, by name <em>and</em> store;
 *   <li>answers that come from who they should come from: remembered, then compared with what was remembered;
 *   <li>members that did not answer, or not as themselves: the last known count, if the member can be told;
 *   <li>expected names that nothing was seen of: missing;
 *   <li>whoever else is remembered: retired.
 * </ol>
 */
final class Reconciliation {

    private static final Pattern ORDINAL = Pattern.compile("(?<base>.+)-(?<ordinal>0|[1-9][0-9]{0,8})");

    private final String counter;
    private final Membership membership;
    private final Replica replica;
    private final PeerMemory memory;
    private final Instant now;
    private final Replica.Count own;

    private final List<Peer> peers = new ArrayList<>();
    private final Set<String> settled = new HashSet<>();
    private final Map<String, String> addresses = new HashMap<>();
    private final List<Member> unsettled = new ArrayList<>();
    private final Map<Member, String> failures = new HashMap<>();
    private List<PeerMemory.Known> remembered = List.of();
    private @Nullable Member self;
    private int answered;

    private Reconciliation(String counter, Membership membership, Replica replica, PeerMemory memory, Instant now) {
        this.counter = counter;
        this.membership = membership;
        this.replica = replica;
        this.memory = memory;
        this.now = now;
        this.own = replica.count(counter);
    }

    /** Returns the report; remembers the answers that can be trusted. */
    static PeersReport report(
            String counter,
            Membership membership,
            Map<Member, Answer> answers,
            Replica replica,
            PeerMemory memory,
            Instant now) {
        Reconciliation reconciliation = new Reconciliation(counter, membership, replica, memory, now);
        reconciliation.settle(answers);
        return reconciliation.report();
    }

    /** Returns the members to ask: all but this replica, where it can be told beforehand. */
    static List<Member> toAsk(Membership membership, Replica replica) {
        return membership.members().stream()
                .filter(member -> !replica.instance().equals(member.instance()))
                .toList();
    }

    /** Returns the membership with the peers remembered from before in it, if the source has never had a list of its own. */
    static Membership withRemembered(Membership membership, PeerMemory memory) {
        if (membership.source().state() != PeersReport.Freshness.UNAVAILABLE || membership.isByAddress()) {
            return membership;
        }
        List<Member> members = memory.all().stream()
                .filter(known -> known.key().startsWith("instance "))
                .map(known -> new Member(known.instance(), known.address(), Phase.SERVING))
                .toList();
        return new Membership(membership.source(), membership.expected(), members);
    }

    /** Returns a StatefulSet's name, if the instance is named as one of its pods; else null. */
    static @Nullable String base(String instance) {
        Matcher matcher = ORDINAL.matcher(instance);
        return matcher.matches() ? matcher.group("base") : null;
    }

    private void settle(Map<Member, Answer> answers) {
        for (Member member : membership.members()) {
            Answer answer = answers.get(member);
            if (replica.instance().equals(member.instance())) {
                self = member;
            } else if (answer instanceof Counted counted) {
                counted(member, counted);
            } else {
                unsettled.add(member);
                failures.put(member, answer instanceof Failed failed ? failed.reason() : "not asked");
            }
        }
        remembered = memory.all();
        unsettled.forEach(this::silent);
        addSelf();
        for (String name : membership.expected().names()) {
            if (!name.equals(replica.instance()) && settled.add(name)) {
                absent(
                        State.MISSING,
                        name,
                        "no address is listed for it: it does not exist, is pending, or is being replaced");
            }
        }
        for (PeerMemory.Known known : remembered) {
            if (isOfThisSource(known) && !settled.contains(label(known)) && !isSelf(known)) {
                gone(known);
            }
        }
    }

    // Who answered

    private void counted(Member member, Counted answer) {
        Replica.Count count = answer.count();
        if (member.instance() == null && isSelf(count) && self == null) {
            self = member;
            if (membership.isByAddress()) {
                memory.observe(key(member, count.instance()), member.address(), count, answer.at(), answer.order());
            }
            return;
        }
        String mismatch = mismatch(member, count);
        if (mismatch != null) {
            unsettled.add(member);
            failures.put(member, "answered as " + mismatch);
            return;
        }
        addresses.put(identity(count), member.address());
        PeerMemory.Known known =
                memory.observe(key(member, count.instance()), member.address(), count, answer.at(), answer.order());
        settled.add(label(known));
        boolean expected = isExpected(count.instance());
        if (expected) {
            answered++;
        }
        State state = State.LIVE;
        String reason = null;
        PeerMemory.Loss loss = memory.loss(known, now);
        PeerMemory.Store former = memory.former(known, now);
        if (loss != null) {
            state = State.ROLLED_BACK;
            reason = reason(loss);
        } else if (former != null) {
            state = State.REPLACED;
            reason = reason(known, former);
        } else if (member.phase() == Phase.TERMINATING) {
            state = State.TERMINATING;
            reason = "it is being stopped";
        } else if (!expected) {
            state = State.TERMINATING;
            reason = scaledDown();
        }
        peers.add(new Peer(
                count.instance(),
                member.address(),
                state,
                reason,
                count.count(),
                answer.at(),
                Math.round(answer.millis() * 100) / 100.0,
                count.store(),
                count.incarnation(),
                former(former)));
    }

    /** Returns who answered instead of the one who should, or null if the answer can be trusted. */
    private @Nullable String mismatch(Member member, Replica.Count count) {
        String name = count.instance();
        if (member.instance() != null) {
            return member.instance().equals(name) ? null : name;
        }
        String other = isSelf(count) && self != null ? self.address() : addresses.get(identity(count));
        if (other != null) {
            return name + ", which is listed as " + other + " too";
        }
        if (!membership.isByAddress()) {
            String base = base(replica.instance());
            if (name.equals(replica.instance())) {
                return name + ", which is the name of the replica that asks";
            } else if (base != null && !base.equals(base(name))) {
                return name + ", which is not a replica of " + base;
            }
        }
        return null;
    }

    // Who did not

    private void silent(Member member) {
        String failure = failures.getOrDefault(member, "not asked");
        PeerMemory.Known known = known(member);
        if (known != null && isSelf(known)) {
            self = member;
            return;
        }
        String instance = member.instance() != null ? member.instance() : known == null ? null : known.instance();
        if (known != null) {
            settled.add(label(known));
        } else if (instance != null) {
            settled.add(instance);
        }
        State state = State.UNREACHABLE;
        String reason = failure;
        if (member.phase() == Phase.TERMINATING) {
            state = State.TERMINATING;
            reason = "it is being stopped; " + failure;
        } else if (instance != null && !isExpected(instance)) {
            state = State.TERMINATING;
            reason = scaledDown() + "; " + failure;
        } else if (member.phase() == Phase.STARTING
                && !failure.startsWith("answered as ")
                && (known == null || !known.address().equals(member.address()))) {
            state = State.STARTING;
            reason = "it does not serve yet; " + failure;
        }
        peers.add(lastKnown(state, reason, instance, member.address(), known));
    }

    private PeerMemory.@Nullable Known known(Member member) {
        if (member.instance() != null || membership.isByAddress()) {
            return memory.get(key(member, member.instance()));
        }
        // The source knows addresses only: whoever was last seen there, unless it is known to be elsewhere now.
        for (PeerMemory.Known known : remembered) {
            if (isOfThisSource(known)
                    && known.address().equals(member.address())
                    && !settled.contains(label(known))
                    && !failures.getOrDefault(member, "").startsWith("answered as ")) {
                return known;
            }
        }
        return null;
    }

    private void absent(State state, String name, String reason) {
        peers.add(lastKnown(state, reason, name, null, memory.get(key(null, name))));
    }

    private void gone(PeerMemory.Known known) {
        Expected expected = membership.expected();
        boolean wanted = !expected.known() || (expected.names().isEmpty() && answered < expected.atLeast());
        if (wanted) {
            peers.add(lastKnown(State.MISSING, "no address is listed for it any more", known.instance(), null, known));
        } else {
            String reason = membership.isByAddress() ? known.address() + " is no longer in the list" : scaledDown();
            peers.add(lastKnown(State.RETIRED, reason + "; last known count", known.instance(), null, known));
        }
    }

    private Peer lastKnown(
            State state,
            String reason,
            @Nullable String instance,
            @Nullable String address,
            PeerMemory.@Nullable Known known) {
        if (known == null) {
            return new Peer(instance, address, state, reason, null, null, null, null, null, null);
        }
        PeerMemory.Store store = known.store();
        PeerMemory.Seen seen = store.seen(counter);
        return new Peer(
                instance,
                address,
                state,
                reason,
                seen == null ? null : seen.count(),
                seen == null ? store.seenAt() : seen.at(),
                null,
                store.id(),
                store.incarnation(),
                former(memory.former(known, now)));
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
            reason = "it is being stopped";
        } else if (!expected) {
            state = State.TERMINATING;
            reason = scaledDown();
        }
        peers.add(new Peer(
                own.instance(),
                self == null ? null : self.address(),
                state,
                reason,
                own.count(),
                now,
                null,
                own.store(),
                own.incarnation(),
                null));
    }

    private boolean isSelf(Replica.Count count) {
        return count.instance().equals(own.instance()) && count.store().equals(own.store());
    }

    private boolean isSelf(PeerMemory.Known known) {
        return known.instance().equals(own.instance()) && known.store().id().equals(own.store());
    }

    // Names, keys and words

    private boolean isExpected(String instance) {
        Expected expected = membership.expected();
        return !expected.exact() || expected.names().contains(instance);
    }

    /** What tells two replicas apart: in a list of addresses, several may share a name. */
    private String identity(Replica.Count count) {
        return membership.isByAddress() ? count.instance() + " " + count.store() : count.instance();
    }

    private String key(@Nullable Member member, @Nullable String instance) {
        return membership.isByAddress() && member != null ? "address " + member.address() : "instance " + instance;
    }

    private boolean isOfThisSource(PeerMemory.Known known) {
        return known.key().startsWith(membership.isByAddress() ? "address " : "instance ");
    }

    /** What a remembered peer is settled by: what its key is made of. */
    private static String label(PeerMemory.Known known) {
        return known.key().substring(known.key().indexOf(' ') + 1);
    }

    private String scaledDown() {
        int wanted = membership.expected().names().size();
        return "scaled down: " + wanted + (wanted == 1 ? " replica is wanted" : " replicas are wanted");
    }

    private static String reason(PeerMemory.Loss loss) {
        StringBuilder reason = new StringBuilder("its volume went back in time: ");
        if (loss.count() < loss.formerCount()) {
            reason.append(loss.counter()).append(" was ").append(loss.formerCount());
            reason.append(" and came back as ").append(loss.count());
        } else {
            reason.append("it had been opened ").append(loss.formerIncarnation());
            reason.append(" times and came back as opened ").append(loss.incarnation());
        }
        return reason.append("; found ").append(loss.foundAt()).toString();
    }

    private String reason(PeerMemory.Known known, PeerMemory.Store former) {
        PeerMemory.Seen seen = former.seen(counter);
        return "its volume was replaced; the former one, last seen " + former.seenAt() + ", had counted "
                + (seen == null ? "an unknown number" : seen.count()) + "; found "
                + known.store().since();
    }

    private @Nullable Former former(PeerMemory.@Nullable Store store) {
        if (store == null) {
            return null;
        }
        PeerMemory.Seen seen = store.seen(counter);
        return new Former(store.id(), seen == null ? null : seen.count(), store.seenAt());
    }

    // The sum of it

    private PeersReport report() {
        Expected expected = membership.expected();
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
        long total = 0;
        boolean fits = true;
        for (Peer peer : peers) {
            long count = peer.count() == null ? 0 : peer.count();
            fits &= count <= Long.MAX_VALUE - total;
            total = fits ? total + count : Long.MAX_VALUE;
        }
        peers.sort(Comparator.comparing(Reconciliation::order, Reconciliation::compareNaturally));
        boolean complete = fits && expected.known() && membership.isLive() && answered == number;
        return new PeersReport(
                counter, total, complete, number, answered, replica.instance(), now, membership.source(), peers);
    }

    private static String order(Peer peer) {
        return peer.label() + "\0" + (peer.address() == null ? "" : peer.address());
    }

    /** Compares runs of digits as numbers, so that app-10 follows app-9 and 10.0.0.2:8080 precedes 10.0.0.10:8080. */
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
