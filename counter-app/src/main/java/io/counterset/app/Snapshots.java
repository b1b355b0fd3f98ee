package io.counterset.app;

import io.counterset.CounterStore;
import jakarta.annotation.PreDestroy;
import jakarta.inject.Singleton;
import java.util.SortedMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.jspecify.annotations.Nullable;

/**
 * Snapshots of the store for whoever wants to list its counters. With a million of them a snapshot takes time and memory, so only
 * one is taken at a time, and whoever asks before it begins shares the next one. Thread-safe; does not block.
 */
@Singleton
final class Snapshots {

    private final CounterStore store;
    private final ExecutorService thread = Executors.newSingleThreadExecutor(task -> {
        Thread made = new Thread(task, "counterset-snapshots");
        made.setDaemon(true);
        return made;
    });
    private @Nullable CompletableFuture<SortedMap<String, Long>> waiting;

    Snapshots(CounterStore store) {
        this.store = store;
    }

    /** Returns a snapshot that begins after this call, so it has what the caller knows to be counted. */
    synchronized CompletionStage<SortedMap<String, Long>> next() {
        CompletableFuture<SortedMap<String, Long>> next = waiting;
        if (next == null) {
            CompletableFuture<Void> begin = new CompletableFuture<>();
            next = begin.thenApplyAsync(ignored -> take(), thread);
            waiting = next;
            begin.complete(null);
        }
        return next;
    }

    private SortedMap<String, Long> take() {
        synchronized (this) {
            waiting = null;
        }
        return store.snapshot();
    }

    @PreDestroy
    void close() {
        thread.shutdownNow();
    }
}
