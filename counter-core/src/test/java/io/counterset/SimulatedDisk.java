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
 * A disk in memory, as unkind as a disk may be. It keeps what the operating system shows (the cache) apart from what the
 * device has, for the content of files in blocks of 4 KiB and for names.
 *
 * <p><b>When the power is cut</b>, also in the middle of a write or a sync, each block that was written and not synced is,
 * for itself, lost, kept as of any of its unsynced writes, or torn: of its eight sectors of 512 bytes each is old, new or
 * garbage. The size of a file that was not synced is the old or the new one, and each change of names that was not synced
 * is kept or lost for itself: a rename may survive while the content of the renamed file does not.
 *
 * <p><b>When a write or sync fails</b>, any part of it has happened, and the pages may be marked clean: the cache then goes
 * on showing what the device never got, and later syncs succeed without writing it.
 *
 * <p><b>Steps.</b> Everything that changes something is a step with a number, so a test can let any of them fail, or cut
 * the power there. All choices come from one {@link Choice}: a random one makes a run that its seed repeats, a counting one
 * makes every run there is.
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
        /** It happens in the cache, then all is over. */
        POWER_CUT,
        /** An I/O error, before or after some of it has happened. */
        FAILURE
    }

    /** Says what goes wrong. */
    interface Faults {
        Fault at(long step, Operation operation, String file);
    }

    /** Chooses one of some options, which are numbered from 0. */
    interface Choice {
        int of(int options);
    }

    /** How finely a torn block is torn. */
    enum Tears {
        /** Each sector for itself: old, new or garbage. */
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

    /** A change of names, kept or lost as one. */
    private record Renaming(Map<String, @Nullable Inode> becomes) {}

    private static final class Block {
        byte[] cached = ZEROS;
        byte[] durable = ZEROS;
        final List<byte[]> unsynced = new ArrayList<>(1); // oldest first; the arrays are never changed

        Block copy() {
            Block copy = new Block();
            copy.cached = cached;
            copy.durable = durable;
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
    private Map<String, Inode> names = new TreeMap<>();
    private Map<String, Inode> durableNames = new TreeMap<>();
    private final List<Renaming> renamings = new ArrayList<>();
    private long capacity = Long.MAX_VALUE;
    private boolean allocatesLate;
    private boolean tellsFreeSpace = true;
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

    // ---- what a test decides ----

    synchronized void faults(Faults faults) {
        this.faults = faults;
    }

    /** Lets the n-th read from now on fail; -1 for none. */
    synchronized void failRead(int n) {
        readsUntilFailure = n;
    }

    /** Lets every read of that block of any file fail; -1 for none. */
    synchronized void unreadable(long block) {
        unreadable = block;
    }

    /** Sets the room for all files together, in blocks. */
    synchronized void capacity(long blocks) {
        capacity = blocks;
    }

    /** Whether a lack of room shows when a file is synced rather than when it is written. */
    synchronized void allocatesLate(boolean late) {
        allocatesLate = late;
    }

    /** Whether it tells how much room there is; quotas and network file systems do not. */
    synchronized void tellsFreeSpace(boolean tells) {
        tellsFreeSpace = tells;
    }

    /** Sets what happens in between whenever a journal to be is about to be written: what another thread would do. */
    synchronized void meanwhile(Runnable action) {
        meanwhile = action;
    }

    /** Takes the directory into use, as a process does. The process before is gone, wherever it was. */
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

    /** Puts a durable file in place, as if from before. */
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

    /** Returns what the operating system shows, or null if there is no such file. */
    synchronized byte @Nullable [] content(String name) {
        Inode inode = names.get(name);
        if (inode == null) {
            return null;
        }
        byte[] content = new byte[(int) inode.size];
        copyOut(inode, 0, content, 0, content.length);
        return content;
    }

    /** How many blocks are in use. */
    synchronized long used() {
        return usedBut(null);
    }

    synchronized boolean isOff() {
        return off;
    }

    synchronized long steps() {
        return step;
    }

    /** How many of the steps concerned the journal. */
    synchronized long journalSteps() {
        return journalSteps;
    }

    /** How many operations have failed, cut power and lack of room not included. */
    synchronized long failures() {
        return failures;
    }

    /** How many of those concerned the journal in such a way that the store must stop. */
    synchronized long journalFailures() {
        return journalFailures;
    }

    /** How many files the last process has open. */
    synchronized int openFiles() {
        return inodes().stream().mapToInt(inode -> inode.open).sum();
    }

    synchronized void cutPower() {
        off = true;
    }

    /** Decides what survived the power cut, and shows that. */
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

    /** Returns another disk in the very same state, which goes its own way. */
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
        copy.tellsFreeSpace = tellsFreeSpace;
        copy.step = step;
        copy.off = off;
        return copy;
    }

    /** A number for what the operating system shows: the same for the same names and bytes. */
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

    /** What the device has of a block after the power was cut, or after a sync failed. */
    private byte[] survivor(Block block) {
        int writes = block.unsynced.size();
        if (writes == 0) {
            return block.durable;
        }
        byte[] newest = block.unsynced.get(writes - 1);
        if (tears == Tears.THREE_WAYS && writes == 1 && Arrays.equals(newest, block.durable)) {
            return block.durable; // spares runs that are all the same
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

    /** Gives the file blocks for so many bytes, or says that there are none. */
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

    /** Writes the first so many bytes into the cache. */
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

    private static void sync(Inode inode, long from, long to) {
        inode.durableSize = inode.size;
        for (long i = from / BLOCK; i < Math.min(blocksOf(to), inode.blocks.size()); i++) {
            Block block = inode.blocks.get((int) i);
            if (!block.unsynced.isEmpty()) {
                block.durable = block.cached;
                block.unsynced.clear();
            }
        }
    }

    /** Some of it reached the device, and what did not may be tried again later or may be marked clean. */
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

    /** Begins a step; the caller does in the cache what is to happen, and calls {@link #end} if the power is cut. */
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
        if (fault == Fault.FAILURE) {
            failures++;
            journalFailures += file.equals(Journal.FILE) && operation != Operation.REPLACE ? 1 : 0;
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
    }

    /** What one process has to do with the disk. */
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
                if (fault == Fault.FAILURE && choice.of(2) == 0) {
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
            // Nobody takes a simulated directory away.
        }

        @Override
        public void requireHeld() {
            // As above.
        }

        @Override
        public void delete(String name) throws IOException {
            synchronized (SimulatedDisk.this) {
                Fault fault = begin(this, Operation.DELETE, name);
                if (names.containsKey(name) && !(fault == Fault.FAILURE && choice.of(2) == 0)) {
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
                if (!(fault == Fault.FAILURE && choice.of(2) == 0)) {
                    Map<String, @Nullable Inode> becomes = becomes(from, null);
                    becomes.put(to, inode);
                    rename(becomes);
                    journalFailures += fault == Fault.FAILURE && to.equals(Journal.FILE) ? 1 : 0;
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
                if (fault == Fault.NONE) {
                    renamings.forEach(renaming -> apply(renaming, durableNames));
                    renamings.clear();
                } else if (fault == Fault.FAILURE && choice.of(3) > 0) {
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
                return capacity == Long.MAX_VALUE || !tellsFreeSpace
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
            if (fault == Fault.FAILURE || full) {
                most = Math.min(length, BLOCK * choice.of((int) blocksOf(length) + 1));
            }
            while (full && most > 0 && !allocate(inode, position + most)) {
                most = Math.max(0, most - BLOCK);
            }
            SimulatedDisk.this.write(inode, position, source, offset, most);
            if (full) {
                end(fault); // if it fails besides, it fails with that
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
                SimulatedDisk.sync(inode, from, to);
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
