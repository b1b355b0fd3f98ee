// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.io.Closeable;
import java.io.IOException;

/**
 * The seam between the engine and a disk: one directory of files. It documents every promise that
 * the engine relies on, and no others. {@link DirectoryStorage} implements it for real directories.
 * Tests use a simulated disk that loses, tears and reorders writes that were not synced, and fails
 * on demand.
 *
 * <p>Writing and naming are made durable separately: {@link Region#sync} covers bytes, {@link
 * #syncNames} covers {@link #create}, {@link #replace} and {@link #delete}. If one of these fails,
 * the state of what it covers is unknown; the engine never retries a failed write or sync.
 *
 * <p>At most two threads use it at once: the committing thread and the housekeeper. The housekeeper
 * writes {@code count.txt} and prepares a larger journal, under names and in files that the
 * committing thread does not use at that time. A {@link Region} is used by one thread at a time.
 */
interface Storage extends Closeable {

    /** Returns the path of {@code name}, for messages. */
    String locate(String name);

    boolean exists(String name) throws IOException;

    /** Opens an existing file for reading. It need not be writable. */
    Region open(String name) throws IOException;

    /**
     * Creates an empty file and replaces any file of that name. If the old file has further names
     * (hard links), it keeps its content under those.
     */
    Region create(String name) throws IOException;

    /**
     * Overwrites an existing file in place, for when there is no room or no permission for a second
     * file. Promises nothing about a crash, and a concurrent reader may see a mixture of old and
     * new content. Needs free space only if the file grows by whole blocks.
     */
    void overwrite(String name, byte[] content) throws IOException;

    void delete(String name) throws IOException;

    /**
     * Atomically renames {@code from} to {@code to}. At any moment, {@code to} is either the old
     * file or the new one.
     */
    void replace(String from, String to) throws IOException;

    /** Waits until all earlier creations, renames and deletions are on the device. */
    void syncNames() throws IOException;

    /**
     * Checks that the path still leads to the directory that was opened, that its lock file is the
     * same, and that no other process holds the lock. If not, {@link #requireHeld} throws from now
     * on. Reads the file system, so it is not for the commit path.
     */
    void verify();

    /**
     * Checks that no {@link #verify} has found the directory or its lock lost. One volatile read.
     *
     * @throws IOException if the directory or its lock is lost: nothing may be written any more
     */
    void requireHeld() throws IOException;

    /**
     * Returns an estimate of the free bytes; {@link Long#MAX_VALUE} if unknown. Other processes may
     * use them at any time.
     */
    long freeSpace() throws IOException;

    /** Whether this failure means that the disk was full, so that freeing space helps. */
    boolean isOutOfSpace(IOException failure);

    /** One open file. */
    interface Region extends Closeable {

        long size() throws IOException;

        /**
         * Fills {@code target[offset, offset + length)}. The caller must stay within {@link
         * #size()}.
         */
        void read(long position, byte[] target, int offset, int length) throws IOException;

        /**
         * Writes without durability: after a crash, any subset of the 4 KiB blocks may be there.
         */
        void write(long position, byte[] source, int offset, int length) throws IOException;

        /** Waits until everything written is on the device. */
        void sync() throws IOException;

        /** Writes these bytes and waits until at least they are on the device. */
        void commit(long position, byte[] source, int offset, int length) throws IOException;
    }
}
