// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import java.util.concurrent.CompletionStage;

/** A source of the list of peers. Thread-safe. */
interface PeerSource extends AutoCloseable {

    /**
     * Starts finding peers, in the background if that takes time. Never fails; failures are
     * reported by {@link #membership()}.
     */
    void start();

    /**
     * Registers a callback for changes of the list, if the source is notified of changes. It runs
     * shortly before or after each possible change, and must not block. Call this before
     * {@link #start()}.
     */
    default void onChange(Runnable whatToDo) {}

    /**
     * Returns what is known now. Never fails or blocks; completes at once or within about two
     * seconds. If the source is unreachable, the membership has its last list and a state that is
     * not {@code LIVE}.
     */
    CompletionStage<Membership> membership();

    /** Stops finding peers. */
    @Override
    void close();
}
