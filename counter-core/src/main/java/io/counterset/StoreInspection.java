// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import io.counterset.CounterStoreException.CorruptJournalException;
import io.counterset.CounterStoreException.DirectoryUnusableException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * The content of a store's directory, read without locking or changing it. The store may be in use,
 * a copy, or damaged. For a damaged journal this is the intact part: for each counter the largest
 * total found, which is a total that the counter had. Immutable.
 */
public final class StoreInspection {

    /**
     * How often a journal that seems damaged is read again: a store that has it open may have
     * written to it during the reading.
     */
    private static final int ATTEMPTS = 20;

    final Journal.Contents contents;
    private final Path file;
    private final long fileBytes;
    private final @Nullable CorruptJournalException damage;
    private final List<String> damaged;
    private final boolean identityKnown;
    private final SortedMap<String, Long> counters = new TreeMap<>();

    private StoreInspection(
            Path file,
            long fileBytes,
            Journal.Contents contents,
            @Nullable CorruptJournalException damage,
            List<String> damaged,
            boolean identityKnown) {
        this.file = file;
        this.fileBytes = fileBytes;
        this.contents = contents;
        this.damage = damage;
        this.damaged = List.copyOf(damaged);
        this.identityKnown = identityKnown;
        contents.cells().forEach((name, counter) -> counters.put(name, counter.durable()));
    }

    static StoreInspection of(Path directory) {
        try {
            Path file = directory.resolve(Journal.FILE);
            if (!Files.exists(file)) {
                throw new NoSuchFileException(
                        file.toString(),
                        null,
                        Files.isDirectory(directory) ? "no store is there" : "no such directory");
            }
            long bytes = Files.size(file);
            Storage view = new View(directory);
            CorruptJournalException damage = null;
            for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
                try {
                    Journal.Contents contents = Journal.read(view, IdempotencyWindow.LARGEST);
                    return new StoreInspection(file, bytes, contents, null, List.of(), true);
                } catch (CorruptJournalException e) {
                    if (damage != null && Objects.equals(e.getMessage(), damage.getMessage())) {
                        break; // the damage is stable, so no store is writing
                    }
                    damage = e;
                }
            }
            Journal.Salvage salvage = Journal.salvage(view);
            return new StoreInspection(
                    file, bytes, salvage.contents(), damage, salvage.damaged(), salvage.identityKnown());
        } catch (IOException e) {
            throw new DirectoryUnusableException(directory, e.toString(), e);
        }
    }

    /** Returns the journal's file. */
    public Path file() {
        return file;
    }

    /** Returns the size of the journal's file in bytes. */
    public long fileBytes() {
        return fileBytes;
    }

    /** Returns the identity of the store; empty if the journal's header is damaged. */
    public Optional<StoreIdentity> identity() {
        return identityKnown ? Optional.of(contents.identity()) : Optional.empty();
    }

    /**
     * Returns the sequence number of the last batch. It is about the number of commits of the
     * store, where each opening also counts as one or more. Growth of the journal may lower it,
     * because commits made while the larger journal is being filled are not counted.
     */
    public long sequence() {
        return contents.sequence();
    }

    /** Returns the durable total of each counter, by name. */
    public SortedMap<String, Long> counters() {
        return Collections.unmodifiableSortedMap(counters);
    }

    /** Returns the number of idempotency keys in the journal, including expired ones. */
    public int keys() {
        return contents.keys().size();
    }

    /**
     * Returns whether the last batch is incomplete: a crash tore it, or a store is writing it right
     * now. No acknowledged add is missing.
     */
    public boolean isTorn() {
        return contents.discardedBatches() > 0;
    }

    /** Returns the damage that opening the journal would report; empty if the journal is intact. */
    public Optional<CorruptJournalException> damage() {
        return Optional.ofNullable(damage);
    }

    /** Returns one line for each damaged part of the journal; empty if it is intact. */
    public List<String> damaged() {
        return damaged;
    }

    /**
     * A read-only directory: takes no lock, opens no descriptor of the lock file, and cannot write.
     */
    private record View(Path directory) implements Storage {

        @Override
        public String locate(String name) {
            return directory.resolve(name).toString();
        }

        @Override
        public boolean exists(String name) {
            return Files.exists(directory.resolve(name));
        }

        @Override
        public Region open(String name) throws IOException {
            return DirectoryStorage.readOnly(directory.resolve(name));
        }

        @Override
        public Region create(String name) {
            throw readOnly();
        }

        @Override
        public void overwrite(String name, byte[] content) {
            throw readOnly();
        }

        @Override
        public void delete(String name) {
            throw readOnly();
        }

        @Override
        public void replace(String from, String to) {
            throw readOnly();
        }

        @Override
        public void syncNames() {
            throw readOnly();
        }

        private static UnsupportedOperationException readOnly() {
            return new UnsupportedOperationException("an inspection changes nothing");
        }

        @Override
        public void verify() {
            // Nothing is held.
        }

        @Override
        public void requireHeld() {
            // As above.
        }

        @Override
        public long freeSpace() {
            throw readOnly();
        }

        @Override
        public boolean isOutOfSpace(IOException failure) {
            return false;
        }

        @Override
        public void close() {
            // Nothing is open.
        }
    }
}
