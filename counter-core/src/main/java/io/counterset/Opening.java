// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import io.counterset.CounterStoreException.CountFileAheadException;
import java.io.IOException;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Opens the store in a directory. Reads its journal, or imports {@code count.txt}, or starts empty;
 * then writes the content to a new journal under the next incarnation. If the disk has no room for
 * a new journal, the store opens for reading only ({@link Room}). If opening fails, the caller has
 * to close only the storage, and the content of the directory is unchanged.
 */
final class Opening {

    final Storage storage;
    final long began;
    final StoreIdentity identity;
    final int discardedBatches;
    final Ledger ledger;
    final Room room;
    final Commit commit;

    Opening(CounterStore.Builder settings, Storage storage) throws IOException {
        this.storage = storage;
        this.began = settings.nanoTime.getAsLong();
        Journal.Contents contents = load(settings);
        this.identity =
                new StoreIdentity(contents.identity().id(), contents.identity().incarnation() + 1);
        this.discardedBatches = contents.discardedBatches();
        contents.keys().start(settings.currentMillis.getAsLong(), settings.nanoTime);
        contents.keys().advance();
        String directory = settings.directory.toString();
        this.ledger = new Ledger(directory, contents);
        this.room = new Room(storage, directory, identity, settings.nanoTime, settings.minHalf, ledger);
        this.commit = new Commit(ledger, room, settings.nanoTime);
        room.open(contents.bytes(), contents.sequence());
    }

    /**
     * Returns the content of the journal; without a journal, the count to import or no counters.
     */
    private Journal.Contents load(CounterStore.Builder settings) throws IOException {
        if (storage.exists(Journal.FILE)) {
            Journal.Contents contents = Journal.read(storage, settings.window, settings.maxHeap);
            if (settings.countedCounter != null) {
                reconcile(settings, contents, settings.countedCounter);
            }
            return contents;
        }
        ConcurrentHashMap<String, Counter> cells = new ConcurrentHashMap<>();
        String counted = settings.countedCounter;
        if (counted != null) {
            long count = CountFile.read(storage).orElse(0);
            if (count > 0) {
                cells.put(counted, new Counter(counted, Names.utf8Length(counted, Batch.MAX_NAME), count));
            }
        }
        return new Journal.Contents(
                new StoreIdentity(UUID.randomUUID(), 0), 0, cells, new RememberedKeys(settings.window), 0, 0);
    }

    /**
     * Resolves a {@code count.txt} that is ahead of the journal. Counterset never causes that, so
     * the user has to choose which of the two is right.
     */
    private void reconcile(CounterStore.Builder settings, Journal.Contents contents, String counted)
            throws IOException {
        Counter cell = contents.cells().get(counted);
        long total = cell == null ? 0 : cell.durable();
        long count = CountFile.peek(storage).orElse(0);
        if (count <= total || settings.countFileAhead == CounterStore.CountFileAhead.KEEP_JOURNAL) {
            return;
        }
        if (settings.countFileAhead == CounterStore.CountFileAhead.REFUSE) {
            throw new CountFileAheadException(storage.locate(CountFile.FILE), count, counted, total);
        }
        if (cell == null) {
            contents.cells().put(counted, new Counter(counted, Names.utf8Length(counted, Batch.MAX_NAME), count));
        } else {
            cell.recovered(count);
        }
    }
}
