// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import org.jspecify.annotations.Nullable;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.JJJ_Result;

/**
 * Two adds and a commit race on one counter. The next commit takes every add that the racing commit
 * did not take. The three numbers are the totals returned by the two adds and the total taken by
 * the last commit.
 */
@JCStressTest
@Outcome(
        id = {"1, 2, 2", "2, 1, 2"},
        expect = Expect.ACCEPTABLE,
        desc = "both adds counted, each with a different total")
@Outcome(expect = Expect.FORBIDDEN, desc = "an add was lost, or a total was returned twice")
@State
public class CellHandOver {

    private final Counter cell = new Counter("c", 1, 0);
    private volatile @Nullable Counter marked;
    private long taken;

    private long add() {
        long total = cell.advance(1);
        if (cell.mark()) {
            marked = cell;
            cell.marked();
        }
        return total;
    }

    private void commit() {
        Counter handedOver = marked;
        if (handedOver != null) {
            marked = null;
            handedOver.unmark();
            taken = handedOver.applied();
        }
    }

    @Actor
    public void first(JJJ_Result r) {
        r.r1 = add();
    }

    @Actor
    public void secondAndCommitting(JJJ_Result r) {
        r.r2 = add();
        commit();
    }

    @Arbiter
    public void nextCommit(JJJ_Result r) {
        commit();
        r.r3 = taken;
    }
}
