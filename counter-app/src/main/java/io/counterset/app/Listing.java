// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.counterset.CounterStore;
import jakarta.annotation.PreDestroy;
import jakarta.inject.Singleton;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.jspecify.annotations.Nullable;

/**
 * The sorted names of this replica's counters, for listing them page by page. Counters are never
 * removed, so the names are read again only after one was created. One read runs at a time, and all
 * requests made before it starts share it. Thread-safe; does not block.
 */
@Singleton
final class Listing {

    private record Names(long counters, List<String> sorted) {}

    private final CounterStore store;
    private final ExecutorService thread = Executors.newSingleThreadExecutor(task -> {
        Thread made = new Thread(task, "counterset-listing");
        made.setDaemon(true);
        return made;
    });
    private Names latest = new Names(0, List.of()); // guarded by this
    private @Nullable CompletableFuture<List<String>> waiting; // guarded by this

    Listing(CounterStore store) {
        this.store = store;
    }

    /**
     * Returns the names of all counters whose first add was durable before this call, as an
     * immutable list.
     */
    synchronized CompletionStage<List<String>> names() {
        if (latest.counters == store.statistics().counters()) {
            return CompletableFuture.completedFuture(latest.sorted);
        }
        CompletableFuture<List<String>> next = waiting;
        if (next == null) {
            CompletableFuture<Void> begin = new CompletableFuture<>();
            next = begin.thenApplyAsync(ignored -> read(), thread);
            waiting = next;
            begin.complete(null);
        }
        return next;
    }

    private List<String> read() {
        synchronized (this) {
            waiting = null;
        }
        List<String> sorted = List.copyOf(store.snapshot().keySet());
        synchronized (this) {
            latest = new Names(sorted.size(), sorted);
        }
        return sorted;
    }

    @PreDestroy
    void close() {
        thread.shutdownNow();
    }
}
