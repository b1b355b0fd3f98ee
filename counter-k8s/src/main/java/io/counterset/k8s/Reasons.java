// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import io.counterset.k8s.Known.Loss;
import io.counterset.k8s.Known.Seen;
import io.counterset.k8s.Known.Store;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * The sentences that a report gives as the reason of a state. No decision depends on them.
 * Immutable.
 */
final class Reasons {

    static final String NOT_ASKED = "not asked";
    static final String TERMINATING = "it is being stopped";
    static final String MISSING = "no address is listed for it: it does not exist, is pending, or is being replaced";
    static final String UNLISTED = "it is no longer listed";
    static final String FINAL = "; final count";
    static final String LAST_KNOWN = "; last known count";

    private final String counter;
    private final Membership membership;

    Reasons(String counter, Membership membership) {
        this.counter = counter;
        this.membership = membership;
    }

    /**
     * Returns the reason for a replica that has not served for that long. After two minutes it is
     * unlikely to start.
     */
    static String starting(Duration time) {
        if (time.compareTo(Duration.ofSeconds(10)) < 0) {
            return "it does not serve yet";
        }
        return (time.compareTo(Duration.ofMinutes(2)) < 0 ? "it does not serve yet, for " : "it does not start, for ")
                + PeersReport.period(time);
    }

    static String oneOf(int addresses, String reason) {
        return "it is at one of " + addresses + " addresses that do not answer, or does not exist; " + reason;
    }

    String scaledDown() {
        int wanted = membership.expected().names().size();
        return "scaled down: " + wanted + (wanted == 1 ? " replica is wanted" : " replicas are wanted");
    }

    static String notInList(Known known) {
        return known.address() + " is no longer in the list";
    }

    static String movedTo(@Nullable String holder) {
        return "its store is counted as " + holder + " now; the content of its volume is unknown";
    }

    static String rolledBack(Loss loss) {
        StringBuilder reason = new StringBuilder("its volume was rolled back: ");
        if (loss.count() < loss.formerCount()) {
            reason.append(loss.counter()).append(" was ").append(loss.formerCount());
            reason.append(" and came back as ").append(loss.count());
        } else {
            reason.append("it had been opened ").append(loss.formerIncarnation());
            reason.append(" times and came back as opened ").append(loss.incarnation());
        }
        return reason.append("; found ").append(loss.foundAt()).toString();
    }

    String restored(boolean rolledBack, long amount) {
        return (rolledBack ? "its volume was rolled back" : "its volume was replaced")
                + "; all that is known to be lost was restored" + (amount == 0 ? "" : ": " + counter + " by " + amount);
    }

    String replaced(Known known, Store former) {
        Seen seen = former.seen(counter);
        return "its volume was replaced; the former one, last seen " + former.seenAt() + ", had counted "
                + (seen == null ? "an unknown number" : "at least " + seen.count()) + "; found "
                + known.store().since();
    }
}
