// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.io.IOException;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.JJJ_Result;

/**
 * Two callers add, and the second then closes. Each caller is released with its add committed, or
 * refused because its add was never written. After the end no thread commits. The numbers are the
 * total of each caller (0 if refused) and the committed total.
 */
@JCStressTest
@Outcome(
        id = {"1, 2, 2", "2, 1, 2"},
        expect = Expect.ACCEPTABLE,
        desc = "both adds were committed")
@Outcome(id = "0, 1, 1", expect = Expect.ACCEPTABLE, desc = "the first caller came too late")
@Outcome(expect = Expect.FORBIDDEN, desc = "a caller got a wrong answer")
@State
public class CommitHandOver implements GroupCommit.Step {

    private final Counter cell = new Counter("c", 1, 0);
    private final GroupCommit commits = new GroupCommit(this, "here", Durability.SYNC, 10, null, System::nanoTime);

    public CommitHandOver() {
        commits.start();
    }

    @Override
    public void commit(int callers) throws IOException {
        cell.publish(cell.applied());
    }

    @Override
    public boolean isDirty() {
        return cell.applied() > cell.durable();
    }

    @Override
    public void failed(Throwable failure) {
        throw new AssertionError(failure);
    }

    private long add() {
        if (!commits.isOpen()) {
            return 0;
        }
        long total = cell.advance(1);
        try {
            commits.await(cell, total);
            return total;
        } catch (CounterStoreException.StoreClosedException tooLate) {
            return 0;
        }
    }

    @Actor
    public void first(JJJ_Result r) {
        r.r1 = add();
    }

    @Actor
    public void secondAndClosing(JJJ_Result r) {
        r.r2 = add();
        commits.close();
    }

    @Arbiter
    public void afterTheEnd(JJJ_Result r) {
        r.r3 = cell.durable();
    }
}
