// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import java.nio.file.Path;
import java.time.Duration;

/**
 * The contenders. Each opens in its own empty directory, configured so that every increment is
 * durable.
 */
enum Entrant {
    BARE_WRITE("bare write + fdatasync", BareWrite::new),
    BARE_GROUP_COMMIT("bare group commit", BareGroupCommit::new),
    COUNTERSET("counter-core", Counterset::new),
    ROCKSDB("RocksDB, sync merge", Rivals.RocksDb::new),
    H2("H2 MVStore, commit + sync", Rivals.H2::new),
    SQLITE("SQLite, WAL, synchronous=FULL", Rivals.Sqlite::new),
    LMDB("LMDB", Rivals.Lmdb::new),
    XODUS("Xodus, durable write", Rivals.Xodus::new),
    MAPDB("MapDB, transactions", Rivals.MapDb::new),
    REDIS("Redis, appendfsync always", RedisServer::new);

    private interface Opener {
        Contender open(Path directory) throws Exception;
    }

    private interface SlowOpener {
        Contender open(Path directory, Duration delay) throws Exception;
    }

    private final String title;

    @SuppressWarnings("ImmutableEnumChecker") // constructors
    private final SlowOpener opener;

    private final boolean canBeSlowed;

    Entrant(String title, Opener opener) {
        this.title = title;
        this.opener = (directory, delay) -> opener.open(directory);
        this.canBeSlowed = false;
    }

    Entrant(String title, SlowOpener opener) {
        this.title = title;
        this.opener = opener;
        this.canBeSlowed = true;
    }

    String title() {
        return title;
    }

    /**
     * Whether this entrant can be measured on this machine. All except Redis come with the build.
     */
    boolean isPresent() {
        return this != REDIS || RedisServer.isInstalled();
    }

    /** Whether {@link #open} can add a delay to each flush. */
    boolean canBeSlowed() {
        return canBeSlowed;
    }

    /**
     * Opens the contender.
     *
     * @param delay added to each flush if the contender {@link #canBeSlowed}, to simulate a slower
     *     device
     */
    Contender open(Path emptyDirectory, Duration delay) throws Exception {
        return opener.open(emptyDirectory, delay);
    }
}
