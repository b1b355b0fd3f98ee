// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.concurrent.locks.Lock;
import java.util.concurrent.locks.ReentrantLock;
import jetbrains.exodus.ByteIterable;
import jetbrains.exodus.bindings.LongBinding;
import jetbrains.exodus.bindings.StringBinding;
import jetbrains.exodus.env.Environment;
import jetbrains.exodus.env.EnvironmentConfig;
import jetbrains.exodus.env.Environments;
import jetbrains.exodus.env.StoreConfig;
import org.h2.mvstore.MVMap;
import org.h2.mvstore.MVStore;
import org.lmdbjava.Dbi;
import org.lmdbjava.DbiFlags;
import org.lmdbjava.Env;
import org.lmdbjava.Txn;
import org.mapdb.Atomic;
import org.mapdb.DB;
import org.mapdb.DBMaker;
import org.rocksdb.Options;
import org.rocksdb.RocksDB;
import org.rocksdb.RocksDBException;
import org.rocksdb.UInt64AddOperator;
import org.rocksdb.WriteOptions;

/**
 * Embedded stores that can count durably, each used in its fastest way. RocksDB groups concurrent
 * writes by itself, and its merge does not read. The others have one writer at a time; callers
 * queue for it on a lock here, which is faster than the store's own way of waiting.
 */
final class Rivals {

    private static final String NAME = "visits";

    private Rivals() {}

    static final class RocksDb implements Contender {
        private static final byte[] KEY = NAME.getBytes(UTF_8);
        private static final byte[] ONE = little(1);

        static {
            RocksDB.loadLibrary();
        }

        private final UInt64AddOperator add = new UInt64AddOperator();
        private final Options options = new Options().setCreateIfMissing(true).setMergeOperator(add);
        private final WriteOptions sync = new WriteOptions().setSync(true);
        private final RocksDB db;

        RocksDb(Path directory) throws RocksDBException {
            db = RocksDB.open(options, directory.toString());
        }

        private static byte[] little(long value) {
            return ByteBuffer.allocate(Long.BYTES)
                    .order(ByteOrder.LITTLE_ENDIAN)
                    .putLong(value)
                    .array();
        }

        @Override
        public void increment() throws RocksDBException {
            db.merge(sync, KEY, ONE);
        }

        @Override
        public long count() throws RocksDBException {
            byte[] value = db.get(KEY);
            return value == null
                    ? 0
                    : ByteBuffer.wrap(value).order(ByteOrder.LITTLE_ENDIAN).getLong();
        }

        @Override
        public void close() {
            db.close();
            sync.close();
            options.close();
            add.close();
        }
    }

    static final class H2 implements Contender {
        private final Lock writer = new ReentrantLock();
        private final MVStore store;
        private final MVMap<String, Long> map;

        H2(Path directory) {
            store = new MVStore.Builder()
                    .fileName(directory.resolve("mvstore").toString())
                    .autoCommitDisabled()
                    .open();
            map = store.openMap("counters");
        }

        @Override
        public void increment() {
            writer.lock();
            try {
                map.put(NAME, count() + 1);
                store.commit();
                store.sync(); // a commit alone leaves the change in the page cache
            } finally {
                writer.unlock();
            }
        }

        @Override
        public long count() {
            return map.getOrDefault(NAME, 0L);
        }

        @Override
        public void close() {
            store.close();
        }
    }

    static final class Sqlite implements Contender {
        private final Lock writer = new ReentrantLock();
        private final Connection connection;
        private final PreparedStatement add;

        Sqlite(Path directory) throws SQLException {
            connection = DriverManager.getConnection("jdbc:sqlite:" + directory.resolve("sqlite.db"));
            try (Statement setUp = connection.createStatement()) {
                setUp.execute("PRAGMA journal_mode=WAL");
                setUp.execute("PRAGMA synchronous=FULL");
                setUp.execute("CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID");
                setUp.execute("INSERT INTO counter VALUES ('" + NAME + "', 0)");
            }
            add = connection.prepareStatement("UPDATE counter SET value = value + 1 WHERE name = '" + NAME + "'");
        }

        @Override
        public void increment() throws SQLException {
            writer.lock();
            try {
                add.executeUpdate();
            } finally {
                writer.unlock();
            }
        }

        @Override
        public long count() throws SQLException {
            writer.lock();
            try (Statement query = connection.createStatement();
                    ResultSet row = query.executeQuery("SELECT value FROM counter WHERE name = '" + NAME + "'")) {
                return row.next() ? row.getLong(1) : 0;
            } finally {
                writer.unlock();
            }
        }

        @Override
        public void close() throws IOException {
            try {
                add.close();
                connection.close();
            } catch (SQLException e) {
                throw new IOException(e);
            }
        }
    }

    static final class Lmdb implements Contender {
        private final Lock writer = new ReentrantLock();
        private final Env<ByteBuffer> env;
        private final Dbi<ByteBuffer> counters;
        private final ByteBuffer key = ByteBuffer.allocateDirect(NAME.length());
        private final ByteBuffer value = ByteBuffer.allocateDirect(Long.BYTES);

        Lmdb(Path directory) {
            env = Env.create().setMapSize(64L << 20).setMaxDbs(1).open(directory.toFile());
            counters = env.openDbi("counters", DbiFlags.MDB_CREATE);
            key.put(NAME.getBytes(UTF_8)).flip();
        }

        @Override
        public void increment() {
            writer.lock();
            try (Txn<ByteBuffer> txn = env.txnWrite()) {
                value.putLong(0, read(txn) + 1);
                counters.put(txn, key, value);
                txn.commit();
            } finally {
                writer.unlock();
            }
        }

        @Override
        public long count() {
            writer.lock();
            try (Txn<ByteBuffer> txn = env.txnRead()) {
                return read(txn);
            } finally {
                writer.unlock();
            }
        }

        private long read(Txn<ByteBuffer> txn) {
            ByteBuffer found = counters.get(txn, key);
            return found == null ? 0 : found.getLong(0);
        }

        @Override
        public void close() {
            env.close();
        }
    }

    static final class Xodus implements Contender {
        private final Environment environment;
        private final jetbrains.exodus.env.Store counters;
        private final ByteIterable key = StringBinding.stringToEntry(NAME);

        Xodus(Path directory) {
            environment =
                    Environments.newInstance(directory.toFile(), new EnvironmentConfig().setLogDurableWrite(true));
            counters = environment.computeInTransaction(
                    txn -> environment.openStore("counters", StoreConfig.WITHOUT_DUPLICATES, txn));
        }

        @Override
        public void increment() {
            environment.executeInExclusiveTransaction(
                    txn -> counters.put(txn, key, LongBinding.longToEntry(read(txn) + 1)));
        }

        @Override
        public long count() {
            return environment.computeInReadonlyTransaction(this::read);
        }

        private long read(jetbrains.exodus.env.Transaction txn) {
            ByteIterable found = counters.get(txn, key);
            return found == null ? 0 : LongBinding.entryToLong(found);
        }

        @Override
        public void close() {
            environment.close();
        }
    }

    static final class MapDb implements Contender {
        private final Lock writer = new ReentrantLock();
        private final DB db;
        private final Atomic.Long visits;

        MapDb(Path directory) throws IOException {
            Files.createDirectories(directory);
            db = DBMaker.fileDB(directory.resolve("mapdb").toFile())
                    .transactionEnable()
                    .make();
            visits = db.atomicLong(NAME).createOrOpen();
        }

        @Override
        public void increment() {
            writer.lock();
            try {
                visits.incrementAndGet();
                db.commit();
            } finally {
                writer.unlock();
            }
        }

        @Override
        public long count() {
            return visits.get();
        }

        @Override
        public void close() {
            db.close();
        }
    }
}
