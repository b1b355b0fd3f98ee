package io.counterset;

import java.io.Closeable;
import java.io.IOException;

/**
 * The seam between the engine and a disk: one directory of files, with every promise the engine relies on written
 * down and every one it must not rely on left out. {@link DirectoryStorage} is the real one; tests put a simulated
 * disk here that loses, tears and reorders whatever was not synced, and fails on demand.
 *
 * <p>Writing and naming are made durable separately: {@link Region#sync} covers bytes, {@link #syncNames} covers
 * {@link #create}, {@link #replace} and {@link #delete}. A failure of any of them leaves the state of what it covered
 * unknown; the engine never repeats a failed write or sync.
 *
 * <p>Two threads at most use it at once: the one that commits, and the housekeeper, which writes {@code count.txt} and
 * prepares a larger journal under names and in files that the other does not use at that time. A {@link Region} is used
 * by one thread at a time.
 */
interface Storage extends Closeable {

    /** Where {@code name} is, for messages. */
    String locate(String name);

    boolean exists(String name) throws IOException;

    /** Opens an existing file for reading. It need not be writable. */
    Region open(String name) throws IOException;

    /** Creates an empty file, in place of any of that name: one that has other names, too, keeps its content there. */
    Region create(String name) throws IOException;

    /**
     * Gives an existing file this content, in place: where there is no room, or no right, for a second file. Promises
     * nothing about a crash, nor that a reader sees the old content or the new. Needs no room if the file is not to grow
     * by blocks.
     */
    void overwrite(String name, byte[] content) throws IOException;

    void delete(String name) throws IOException;

    /** Atomically gives the file {@code from} the name {@code to}; at any moment, {@code to} is the old file or the new. */
    void replace(String from, String to) throws IOException;

    /** Returns once earlier changes of names are on the device. */
    void syncNames() throws IOException;

    /**
     * Checks that the directory is still the one that was opened, that its lock is the same, and that nobody else has
     * it. If not, {@link #requireHeld} throws from here on. Off the commit path: it asks the file system.
     */
    void verify();

    /**
     * Returns if no {@link #verify} has found the directory or its lock lost. Costs next to nothing.
     *
     * @throws IOException if one has: nothing may be written any more
     */
    void requireHeld() throws IOException;

    /**
     * Returns how many bytes can be written for sure, or seem to; {@link Long#MAX_VALUE} if that is not known. Others may
     * take them meanwhile.
     */
    long freeSpace() throws IOException;

    /** Whether this failure means that there was no room, so that freeing some would help. */
    boolean isOutOfSpace(IOException failure);

    /** One open file. */
    interface Region extends Closeable {

        long size() throws IOException;

        /** Fills {@code target[offset, offset + length)}; the caller stays within {@link #size()}. */
        void read(long position, byte[] target, int offset, int length) throws IOException;

        /** Writes without promising anything about a crash: any subset of the 4 KiB blocks may survive one. */
        void write(long position, byte[] source, int offset, int length) throws IOException;

        /** Returns once everything written is on the device. */
        void sync() throws IOException;

        /** Writes these bytes and returns once they, at least, are on the device. */
        void commit(long position, byte[] source, int offset, int length) throws IOException;
    }
}
