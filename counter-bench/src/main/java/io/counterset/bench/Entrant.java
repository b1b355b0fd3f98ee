// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import java.nio.file.Path;

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

    private final String title;

    @SuppressWarnings("ImmutableEnumChecker") // constructors
    private final Opener opener;

    Entrant(String title, Opener opener) {
        this.title = title;
        this.opener = opener;
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

    Contender open(Path emptyDirectory) throws Exception {
        return opener.open(emptyDirectory);
    }
}
