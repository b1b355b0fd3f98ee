package io.counterset.k8s;

import java.util.concurrent.CompletionStage;

/** Where the list of peers comes from. Thread-safe. */
interface PeerSource extends AutoCloseable {

    /** Begins to find peers, in the background if that takes time. Never fails: what goes wrong shows in the membership. */
    void start();

    /**
     * Calls back, a moment before or after, whenever the list may have changed, if the source hears of changes; to be called before
     * {@link #start()}. The callback must not block.
     */
    default void onChange(Runnable whatToDo) {}

    /**
     * Returns what is known now. Never fails, never blocks, and completes at once or within about two seconds: a source that
     * cannot be reached gives its last list and says so.
     */
    CompletionStage<Membership> membership();

    /** Ends what {@link #start()} began. */
    @Override
    void close();
}
