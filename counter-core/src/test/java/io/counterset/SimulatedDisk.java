// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.io.IOException;
import java.nio.file.NoSuchFileException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * A disk in memory that behaves as badly as a disk may. It keeps the view of the operating system
 * (the cache) apart from the content of the device, both for file content in blocks of 4 KiB and
 * for names.
 *
 * <p><b>When the power is cut</b>, possibly in the middle of a write or a sync, each block that was
 * written but not synced has its own fate: it is lost, has the content of any of its unsynced
 * writes, or is torn. In a torn block, each of the eight sectors of 512 bytes is old, new or
 * garbage. The size of a file that was not synced is the old or the new one. Each change of names
 * that was not synced is independently kept or lost: a rename may survive while the content of the
 * renamed file does not.
 *
 * <p><b>When a write or sync fails</b>, any part of it may have happened, and the pages may be
 * marked clean: the cache then still shows content that never reached the device, and later syncs
 * succeed without writing it.
 *
 * <p><b>A broken device</b> may lie: see {@link Lie}.
 *
 * <p><b>Steps.</b> Every operation that changes something is a numbered step, so a test can fail
 * any step or cut the power there. All choices come from one {@link Choice}. With random choices, a
 * run can be repeated from its seed. With counted choices, all runs can be enumerated.
 */
final class SimulatedDisk {

    static final int BLOCK = 4096;
    static final int SECTOR = 512;

    enum Operation {
        CREATE,
        WRITE,
        SYNC,
        COMMIT,
        REPLACE,
        DELETE,
        SYNC_NAMES
    }

    enum Fault {
        NONE,
        /** The operation happens in the cache, then the power is cut. */
        POWER_CUT,
        /** An I/O error before, during or after the operation. */
        FAILURE,
        /** The same, but the operation throws an Error, as if there were no memory. */
        ERROR,
        /**
         * No room, even though room is not limited: for a name, or on a copy-on-write file system.
         */
        NO_SPACE;

        boolean isFailure() {
            return this == FAILURE || this == ERROR;
        }
    }

    /** Chooses the fault of each step. */
    interface Faults {
        Fault at(long step, Operation operation, String file);
    }

    /** A fault of a broken device that the device does not report. */
    enum Lie {
        /** A block that was synced is not on the device. */
        LOST_WRITE,
        /** A block that was synced is on the device in place of another one of the file. */
        MISDIRECTED_WRITE,
        /** Names that were synced are not on the device. */
        LOST_NAMES,
        /** A block is read as it was before it was last synced. */
        STALE_READ,
        /** Another block of the file is read. */
        MISDIRECTED_READ,
        /** When the power is cut, a block next to one that is being written is damaged. */
        TORN_NEIGHBOUR
    }

    /** Decides when the device lies. By default it never does. */
    interface Lies {
        boolean now(Lie lie);
    }

    /** Chooses one of several options, numbered from 0. */
    interface Choice {
        int of(int options);
    }

    /** How a torn block is torn. */
    enum Tears {
        /** Each sector independently: old, new or garbage. */
        EACH_SECTOR,
        /** One of three ways: only the first sector new, only the first sector old, all garbage. */
        THREE_WAYS
    }

    static final class PowerIsOff extends IOException {
        private static final long serialVersionUID = 1L;

        PowerIsOff() {
            super("the power is off");
        }
    }

    static final class NoSpace extends IOException {
        private static final long serialVersionUID = 1L;

        NoSpace() {
            super("No space left on device");
        }
    }

    /**
     * A change of names that is kept or lost as a whole.
     *
     * @param becomes the new file of each name, or null if the name is removed
     */
    private record Renaming(Map<String, @Nullable Inode> becomes) {}

    private static final class Block {
        byte[] cached = ZEROS;
        byte[] durable = ZEROS;
        byte[] former = ZEROS; // durable before the last sync
        final List<byte[]> unsynced = new ArrayList<>(1); // oldest first; the arrays are never changed

        Block copy() {
            Block copy = new Block();
            copy.cached = cached;
            copy.durable = durable;
            copy.former = former;
            copy.unsynced.addAll(unsynced);
            return copy;
        }
    }

    private static final class Inode {
        long size;
        long durableSize;
        long allocated; // blocks
        int open;
        final List<Block> blocks = new ArrayList<>();

        Block block(long index) {
            while (blocks.size() <= index) {
                blocks.add(new Block());
            }
            return blocks.get((int) index);
        }

        Inode copy() {
            Inode copy = new Inode();
            copy.size = size;
            copy.durableSize = durableSize;
            copy.allocated = allocated;
            for (Block block : blocks) {
                copy.blocks.add(block.copy());
            }
            return copy;
        }
    }

    private static final byte[] ZEROS = new byte[BLOCK];

    private final Choice choice;
    private final Tears tears;
    private Faults faults = (step, operation, file) -> Fault.NONE;
    private Lies lies = lie -> false;
    private Map<String, Inode> names = new TreeMap<>();
    private Map<String, Inode> durableNames = new TreeMap<>();
    private final List<Renaming> renamings = new ArrayList<>();
    private long capacity = Long.MAX_VALUE;
    private boolean allocatesLate;
    private boolean reportsFreeSpace = true;
    private Runnable meanwhile = () -> {};
    private long step;
    private long journalSteps;
    private long failures;
    private long journalFailures;
    private int readsUntilFailure = -1;
    private long unreadable = -1;
    private boolean off;
    private @Nullable Mount mounted;

    SimulatedDisk(Choice choice, Tears tears) {
        this.choice = choice;
        this.tears = tears;
    }

    // ---- controlled by tests ----

    synchronized void faults(Faults faults) {
        this.faults = faults;
    }

    synchronized void lies(Lies lies) {
        this.lies = lies;
    }

    /** Fails the n-th read from now on; -1 for none. */
    synchronized void failRead(int n) {
        readsUntilFailure = n;
    }

    /** Fails every read of this block of any file; -1 for none. */
    synchronized void unreadable(long block) {
        unreadable = block;
    }

    /** Sets the total room for all files, in blocks. */
    synchronized void capacity(long blocks) {
        capacity = blocks;
    }

    /** Whether a lack of room is reported when a file is synced rather than when it is written. */
    synchronized void allocatesLate(boolean late) {
        allocatesLate = late;
    }

    /** Whether the disk reports its free space; quotas and network file systems do not. */
    synchronized void reportsFreeSpace(boolean reports) {
        reportsFreeSpace = reports;
    }

    /**
     * Sets an action that runs before each sync or commit of a new journal, in place of another
     * thread.
     */
    synchronized void meanwhile(Runnable action) {
        meanwhile = action;
    }

    /**
     * Opens the directory as a new process would. The former process counts as killed: it can no
     * longer use the disk.
     */
    synchronized Storage mount() {
        if (off) {
            throw new IllegalStateException("the power is off");
        }
        for (Inode inode : inodes()) {
            inode.open = 0;
        }
        mounted = new Mount();
        return mounted;
    }

    /** Creates a durable file. */
    synchronized void put(String name, byte[] content) {
        Inode inode = new Inode();
        inode.size = content.length;
        inode.durableSize = content.length;
        inode.allocated = blocksOf(content.length);
        for (int at = 0; at < content.length; at += BLOCK) {
            Block block = inode.block(at / BLOCK);
            block.cached = Arrays.copyOfRange(content, at, at + BLOCK);
            block.durable = block.cached;
        }
        names.put(name, inode);
        durableNames.put(name, inode);
    }

    /** Returns the content as the operating system shows it, or null if there is no such file. */
    synchronized byte @Nullable [] content(String name) {
        Inode inode = names.get(name);
        if (inode == null) {
            return null;
        }
        byte[] content = new byte[(int) inode.size];
        copyOut(inode, 0, content, 0, content.length);
        return content;
    }

    /** Returns the number of blocks in use. */
    synchronized long used() {
        return usedBut(null);
    }

    synchronized boolean isOff() {
        return off;
    }

    synchronized long steps() {
        return step;
    }

    /** Returns the number of steps that concerned the journal. */
    synchronized long journalSteps() {
        return journalSteps;
    }

    /** Returns the number of failed operations, not counting power cuts and lack of room. */
    synchronized long failures() {
        return failures;
    }

    /** Returns the number of failures of the journal after which the store must stop. */
    synchronized long journalFailures() {
        return journalFailures;
    }

    /** Returns the number of files that the last process has open. */
    synchronized int openFiles() {
        return inodes().stream().mapToInt(inode -> inode.open).sum();
    }

    synchronized void cutPower() {
        off = true;
    }

    /** Decides what survived the power cut; from now on the disk shows that. */
    synchronized void powerOn() {
        for (Renaming renaming : renamings) {
            if (choice.of(2) == 1) {
                apply(renaming, durableNames);
            }
        }
        renamings.clear();
        names = new TreeMap<>(durableNames);
        for (Inode inode : inodes()) {
            if (inode.size != inode.durableSize && choice.of(2) == 1) {
                inode.durableSize = inode.size;
            }
            inode.size = inode.durableSize;
            inode.allocated = blocksOf(inode.size);
            inode.open = 0;
            tearNeighbours(inode);
            for (int i = 0; i < inode.blocks.size(); i++) {
                Block block = inode.blocks.get(i);
                block.durable = (long) i * BLOCK < inode.size ? survivor(block) : ZEROS;
                block.cached = block.durable;
                block.unsynced.clear();
            }
        }
        mounted = null;
        off = false;
    }

    private void tearNeighbours(Inode inode) {
        for (int i = 0; i < inode.blocks.size(); i++) {
            if (!inode.blocks.get(i).unsynced.isEmpty() && lies.now(Lie.TORN_NEIGHBOUR)) {
                int neighbour = i + (choice.of(2) == 0 ? 1 : -1);
                if (neighbour >= 0 && neighbour < inode.blocks.size()) {
                    Block block = inode.blocks.get(neighbour);
                    byte[] torn = block.durable.clone();
                    int from = choice.of(BLOCK / SECTOR) * SECTOR;
                    Arrays.fill(torn, from, from + SECTOR, (byte) 0xA5);
                    block.durable = torn;
                }
            }
        }
    }

    /** Returns an independent copy of this disk in its current state. */
    synchronized SimulatedDisk copy(Choice itsChoice) {
        SimulatedDisk copy = new SimulatedDisk(itsChoice, tears);
        IdentityHashMap<Inode, Inode> twins = new IdentityHashMap<>();
        names.forEach((name, inode) -> copy.names.put(name, twins.computeIfAbsent(inode, Inode::copy)));
        durableNames.forEach((name, inode) -> copy.durableNames.put(name, twins.computeIfAbsent(inode, Inode::copy)));
        for (Renaming renaming : renamings) {
            Map<String, @Nullable Inode> becomes = new LinkedHashMap<>();
            renaming.becomes.forEach((name, inode) ->
                    becomes.put(name, inode == null ? null : twins.computeIfAbsent(inode, Inode::copy)));
            copy.renamings.add(new Renaming(becomes));
        }
        copy.capacity = capacity;
        copy.allocatesLate = allocatesLate;
        copy.reportsFreeSpace = reportsFreeSpace;
        copy.step = step;
        copy.off = off;
        return copy;
    }

    /** Returns a hash of what the operating system shows: the same for the same names and bytes. */
    synchronized long image() {
        long image = 1;
        for (Map.Entry<String, Inode> entry : names.entrySet()) {
            image = 31 * image + entry.getKey().hashCode();
            image = 31 * image + entry.getValue().size;
            for (Block block : entry.getValue().blocks) {
                image = 0x9E3779B97F4A7C15L * image + Arrays.hashCode(block.cached);
            }
        }
        return image;
    }

    // ---- the model ----

    private Collection<Inode> inodes() {
        Set<Inode> all = Collections.newSetFromMap(new IdentityHashMap<>());
        List<Inode> inOrder = new ArrayList<>();
        for (Inode inode : names.values()) {
            if (all.add(inode)) {
                inOrder.add(inode);
            }
        }
        for (Inode inode : durableNames.values()) {
            if (all.add(inode)) {
                inOrder.add(inode);
            }
        }
        if (mounted != null) {
            for (Inode inode : mounted.opened) {
                if (all.add(inode)) {
                    inOrder.add(inode);
                }
            }
        }
        return inOrder;
    }

    private static void apply(Renaming renaming, Map<String, Inode> names) {
        renaming.becomes.forEach((name, inode) -> {
            if (inode == null) {
                names.remove(name);
            } else {
                names.put(name, inode);
            }
        });
    }

    private void rename(Map<String, @Nullable Inode> becomes) {
        Renaming renaming = new Renaming(becomes);
        apply(renaming, names);
        renamings.add(renaming);
    }

    /** Returns the content of a block on the device after a power cut or a failed sync. */
    private byte[] survivor(Block block) {
        int writes = block.unsynced.size();
        if (writes == 0) {
            return block.durable;
        }
        byte[] newest = block.unsynced.get(writes - 1);
        if (tears == Tears.THREE_WAYS && writes == 1 && Arrays.equals(newest, block.durable)) {
            return block.durable; // avoids identical runs
        }
        int chosen = choice.of(1 + writes + (tears == Tears.THREE_WAYS ? 3 : 2));
        if (chosen == 0) {
            return block.durable;
        }
        if (chosen <= writes) {
            return block.unsynced.get(chosen - 1);
        }
        byte[] torn = block.durable.clone();
        for (int sector = 0; sector < BLOCK / SECTOR; sector++) {
            int fate = tears == Tears.EACH_SECTOR
                    ? choice.of(3)
                    : chosen == writes + 3 ? 2 : (chosen == writes + 1) == (sector == 0) ? 1 : 0;
            if (fate == 1) {
                System.arraycopy(newest, sector * SECTOR, torn, sector * SECTOR, SECTOR);
            } else if (fate == 2) {
                for (int i = sector * SECTOR; i < (sector + 1) * SECTOR; i++) {
                    torn[i] = (byte) (i * 31 + 0xA5);
                }
            }
        }
        return torn;
    }

    private static void copyOut(Inode inode, long position, byte[] target, int offset, int length) {
        for (int done = 0; done < length; ) {
            long at = position + done;
            int within = (int) (at % BLOCK);
            int n = Math.min(BLOCK - within, length - done);
            System.arraycopy(inode.block(at / BLOCK).cached, within, target, offset + done, n);
            done += n;
        }
    }

    private static long blocksOf(long bytes) {
        return (bytes + BLOCK - 1) / BLOCK;
    }

    private long usedBut(@Nullable Inode inode) {
        long used = 0;
        for (Inode other : inodes()) {
            boolean exists = names.containsValue(other) || other.open > 0;
            used += other != inode && exists ? other.allocated : 0;
        }
        return used;
    }

    /** Allocates blocks for a file of {@code size} bytes; returns false if there are not enough. */
    private boolean allocate(Inode inode, long size) {
        long needed = blocksOf(size);
        if (needed > inode.allocated) {
            if (capacity != Long.MAX_VALUE && usedBut(inode) + needed > capacity) {
                return false;
            }
            inode.allocated = needed;
        }
        return true;
    }

    /** Writes the bytes into the cache. */
    private void write(Inode inode, long position, byte[] source, int offset, int length) {
        for (int done = 0; done < length; ) {
            long at = position + done;
            int within = (int) (at % BLOCK);
            int n = Math.min(BLOCK - within, length - done);
            Block block = inode.block(at / BLOCK);
            byte[] content = block.cached.clone();
            System.arraycopy(source, offset + done, content, within, n);
            block.cached = content;
            block.unsynced.add(content);
            done += n;
        }
        inode.size = Math.max(inode.size, position + length);
    }

    private void sync(Inode inode, long from, long to) {
        inode.durableSize = inode.size;
        for (long i = from / BLOCK; i < Math.min(blocksOf(to), inode.blocks.size()); i++) {
            Block block = inode.blocks.get((int) i);
            if (!block.unsynced.isEmpty()) {
                block.unsynced.clear();
                if (!lies.now(Lie.LOST_WRITE)) {
                    Block there = lies.now(Lie.MISDIRECTED_WRITE) ? anyBlock(inode) : block;
                    there.former = there.durable;
                    there.durable = block.cached;
                }
            }
        }
    }

    private Block anyBlock(Inode inode) {
        return inode.blocks.get(choice.of(inode.blocks.size()));
    }

    /**
     * Fails a sync: part of the content reaches the device. The rest stays dirty or is marked
     * clean.
     */
    private void failSync(Inode inode, long from, long to) {
        if (choice.of(3) == 0) {
            return; // still dirty
        }
        if (choice.of(2) == 1) {
            inode.durableSize = inode.size;
        }
        for (long i = from / BLOCK; i < Math.min(blocksOf(to), inode.blocks.size()); i++) {
            Block block = inode.blocks.get((int) i);
            block.durable = survivor(block);
            block.unsynced.clear();
        }
    }

    /**
     * Begins a step. The caller then applies the operation to the cache and calls {@link #end},
     * which throws if there is a fault.
     */
    private Fault begin(@Nullable Mount by, Operation operation, String file) throws IOException {
        if (off || by != mounted) {
            throw new PowerIsOff();
        }
        if (file.equals(Journal.NEW_FILE) && (operation == Operation.SYNC || operation == Operation.COMMIT)) {
            meanwhile.run();
            if (off) {
                throw new PowerIsOff();
            }
        }
        step++;
        if (file.equals(Journal.FILE)) {
            journalSteps++;
        }
        Fault fault = faults.at(step, operation, file);
        if (fault.isFailure() || fault == Fault.NO_SPACE) {
            failures++;
            boolean mustStop = operation != Operation.REPLACE
                    && !(operation == Operation.SYNC_NAMES && fault == Fault.NO_SPACE); // opening makes another file
            journalFailures += file.equals(Journal.FILE) && mustStop ? 1 : 0;
        }
        return fault;
    }

    private void end(Fault fault) throws IOException {
        if (fault == Fault.POWER_CUT) {
            off = true;
            throw new PowerIsOff();
        }
        if (fault == Fault.FAILURE) {
            throw new IOException("Input/output error (simulated)");
        }
        if (fault == Fault.ERROR) {
            throw new OutOfMemoryError("simulated");
        }
        if (fault == Fault.NO_SPACE) {
            throw new NoSpace();
        }
    }

    /** The view of one process on the disk. */
    private final class Mount implements Storage {

        private final List<Inode> opened = new ArrayList<>();

        @Override
        public String locate(String name) {
            return "simulated/" + name;
        }

        @Override
        public boolean exists(String name) throws IOException {
            synchronized (SimulatedDisk.this) {
                requireOn();
                return names.containsKey(name);
            }
        }

        private void requireOn() throws PowerIsOff {
            if (off || this != mounted) {
                throw new PowerIsOff();
            }
        }

        private Region opened(Inode inode, String name) {
            inode.open++;
            opened.add(inode);
            return new File(this, inode, name);
        }

        @Override
        public Region open(String name) throws IOException {
            synchronized (SimulatedDisk.this) {
                requireOn();
                Inode inode = names.get(name);
                if (inode == null) {
                    throw new NoSuchFileException(name);
                }
                return opened(inode, name);
            }
        }

        @Override
        public Region create(String name) throws IOException {
            synchronized (SimulatedDisk.this) {
                Fault fault = begin(this, Operation.CREATE, name);
                if (fault == Fault.NO_SPACE || (fault.isFailure() && choice.of(2) == 0)) {
                    end(fault);
                }
                Inode inode = names.get(name);
                if (inode == null) {
                    inode = new Inode();
                    rename(becomes(name, inode));
                } else {
                    inode.size = 0;
                    inode.allocated = 0;
                    for (Block block : inode.blocks) {
                        block.cached = ZEROS;
                        block.unsynced.add(ZEROS);
                    }
                }
                end(fault);
                return opened(inode, name);
            }
        }

        @Override
        public void overwrite(String name, byte[] content) throws IOException {
            synchronized (SimulatedDisk.this) {
                try (Region region = open(name)) {
                    region.write(0, content, 0, content.length);
                }
                Inode inode = names.get(name);
                if (inode != null) {
                    inode.size = content.length;
                }
            }
        }

        @Override
        public void verify() {
            // A simulated directory cannot be taken away.
        }

        @Override
        public void requireHeld() {
            // As above.
        }

        @Override
        public void delete(String name) throws IOException {
            synchronized (SimulatedDisk.this) {
                Fault fault = begin(this, Operation.DELETE, name);
                if (names.containsKey(name) && !(fault.isFailure() && choice.of(2) == 0)) {
                    rename(becomes(name, null));
                }
                end(fault);
            }
        }

        @Override
        public void replace(String from, String to) throws IOException {
            synchronized (SimulatedDisk.this) {
                Fault fault = begin(this, Operation.REPLACE, to);
                Inode inode = names.get(from);
                if (inode == null) {
                    throw new NoSuchFileException(from);
                }
                if (fault != Fault.NO_SPACE && !(fault.isFailure() && choice.of(2) == 0)) {
                    Map<String, @Nullable Inode> becomes = becomes(from, null);
                    becomes.put(to, inode);
                    rename(becomes);
                    journalFailures += fault.isFailure() && to.equals(Journal.FILE) ? 1 : 0;
                }
                end(fault);
            }
        }

        private Map<String, @Nullable Inode> becomes(String name, @Nullable Inode inode) {
            Map<String, @Nullable Inode> becomes = new LinkedHashMap<>();
            becomes.put(name, inode);
            return becomes;
        }

        @Override
        public void syncNames() throws IOException {
            synchronized (SimulatedDisk.this) {
                Fault fault = begin(this, Operation.SYNC_NAMES, Journal.FILE);
                if (fault == Fault.NONE && lies.now(Lie.LOST_NAMES)) {
                    renamings.clear();
                } else if (fault == Fault.NONE) {
                    renamings.forEach(renaming -> apply(renaming, durableNames));
                    renamings.clear();
                } else if (fault != Fault.POWER_CUT && choice.of(3) > 0) {
                    for (Renaming renaming : renamings) {
                        if (choice.of(2) == 1) {
                            apply(renaming, durableNames);
                        }
                    }
                    renamings.clear(); // marked clean
                }
                end(fault);
            }
        }

        @Override
        public long freeSpace() throws IOException {
            synchronized (SimulatedDisk.this) {
                requireOn();
                return capacity == Long.MAX_VALUE || !reportsFreeSpace
                        ? Long.MAX_VALUE
                        : Math.max(0, capacity - used()) * BLOCK;
            }
        }

        @Override
        public boolean isOutOfSpace(IOException failure) {
            return failure instanceof NoSpace;
        }

        @Override
        public void close() throws IOException {
            synchronized (SimulatedDisk.this) {
                requireOn();
            }
        }
    }

    private final class File implements Storage.Region {

        private final Mount by;
        private final Inode inode;
        private final String name;
        private boolean closed;

        File(Mount by, Inode inode, String name) {
            this.by = by;
            this.inode = inode;
            this.name = name;
        }

        private Fault begin(Operation operation) throws IOException {
            if (closed) {
                throw new IOException(name + " is closed");
            }
            return SimulatedDisk.this.begin(by, operation, inode == names.get(Journal.FILE) ? Journal.FILE : name);
        }

        @Override
        public long size() throws IOException {
            synchronized (SimulatedDisk.this) {
                by.requireOn();
                return inode.size;
            }
        }

        @Override
        public void read(long position, byte[] target, int offset, int length) throws IOException {
            synchronized (SimulatedDisk.this) {
                by.requireOn();
                if (readsUntilFailure >= 0 && readsUntilFailure-- == 0) {
                    failures++;
                    throw new IOException("Input/output error (simulated read)");
                }
                if (unreadable >= position / BLOCK && unreadable * BLOCK < position + length) {
                    failures++;
                    throw new IOException("Input/output error (simulated block)");
                }
                if (position < 0 || position + length > inode.size) {
                    throw new IllegalArgumentException(
                            "read of " + length + " bytes at " + position + " of " + inode.size);
                }
                copyOut(inode, position, target, offset, length);
                for (int i = 0; i < length; i += BLOCK) {
                    if (lies.now(Lie.STALE_READ)) {
                        byte[] former = inode.block((position + i) / BLOCK).former;
                        System.arraycopy(former, 0, target, offset + i, Math.min(BLOCK, length - i));
                    }
                    if (lies.now(Lie.MISDIRECTED_READ)) {
                        System.arraycopy(anyBlock(inode).cached, 0, target, offset + i, Math.min(BLOCK, length - i));
                    }
                }
            }
        }

        @Override
        public void write(long position, byte[] source, int offset, int length) throws IOException {
            synchronized (SimulatedDisk.this) {
                Fault fault = begin(Operation.WRITE);
                store(fault, position, source, offset, length);
                end(fault);
            }
        }

        private void store(Fault fault, long position, byte[] source, int offset, int length) throws IOException {
            int most = length;
            boolean full = !allocatesLate && !allocate(inode, position + length);
            if (fault.isFailure() || fault == Fault.NO_SPACE || full) {
                most = Math.min(length, BLOCK * choice.of((int) blocksOf(length) + 1));
            }
            while (full && most > 0 && !allocate(inode, position + most)) {
                most = Math.max(0, most - BLOCK);
            }
            SimulatedDisk.this.write(inode, position, source, offset, most);
            if (full) {
                end(fault); // a fault takes precedence over lack of room
                throw new NoSpace();
            }
        }

        @Override
        public void sync() throws IOException {
            synchronized (SimulatedDisk.this) {
                sync(begin(Operation.SYNC), 0, Long.MAX_VALUE - BLOCK);
            }
        }

        private void sync(Fault fault, long from, long to) throws IOException {
            boolean full = !allocate(inode, inode.size);
            if (fault == Fault.NONE && !full) {
                SimulatedDisk.this.sync(inode, from, to);
            } else if (fault != Fault.POWER_CUT) {
                failSync(inode, from, to);
            }
            end(fault);
            if (full) {
                throw new NoSpace();
            }
        }

        @Override
        public void commit(long position, byte[] source, int offset, int length) throws IOException {
            synchronized (SimulatedDisk.this) {
                Fault fault = begin(Operation.COMMIT);
                store(fault, position, source, offset, length);
                sync(fault, position, position + length);
            }
        }

        @Override
        public void close() throws IOException {
            synchronized (SimulatedDisk.this) {
                if (!closed) {
                    closed = true;
                    inode.open--;
                }
            }
        }
    }
}
