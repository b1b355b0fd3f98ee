// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import io.counterset.CounterStoreException.DirectoryUnusableException;
import io.counterset.CounterStoreException.StoreFullException;
import io.counterset.CounterStoreException.StoreLockedException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.DirectoryStream;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.SecureDirectoryStream;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributeView;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.PosixFileAttributeView;
import java.nio.file.attribute.PosixFileAttributes;
import java.nio.file.attribute.PosixFilePermission;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/**
 * A directory of the file system, locked while it is open.
 *
 * <p><b>Names belong to the locked directory.</b> The path is resolved once. On systems that
 * support it, such as Linux, files are created, renamed and deleted relative to an open descriptor
 * of the directory. So if another directory takes its place, that one is never touched. {@link
 * #verify} detects that the path leads elsewhere, that the lock file was replaced, or that another
 * process has locked it; from then on {@link #requireHeld} throws. Every rename and every deletion
 * verifies first.
 *
 * <p><b>Links.</b> The directory may be reached through symbolic links. {@code counters.journal}
 * and {@code counters.lock} must not be links: opening would replace the first and not its target,
 * and a lock on the second would not belong to this directory. {@code count.txt} may be a link when
 * it is read. Creating a file replaces a link of the same name, wherever it leads. A dangling link
 * is refused; it does not count as a missing file.
 *
 * <p>Files are {@link RandomAccessFile}s because a commit runs in a caller's thread: an interrupt
 * closes a {@link FileChannel} in the middle of a write, but does not affect a {@code
 * RandomAccessFile}. Mode {@code rwd} is {@code O_DSYNC}: one system call writes and flushes.
 */
final class DirectoryStorage implements Storage {

    static final String LOCK = "counters.lock";

    /**
     * Above this many bytes, plain writes with one flush at the end are faster than a flush per
     * piece.
     */
    private static final int PIECE = 1 << 20;

    /**
     * A system property with this prefix and the directory's identity registers each directory that
     * is open in this JVM, across all class loaders that have this class. It is checked before the
     * lock file is opened, because closing a second descriptor of that file would silently release
     * the POSIX lock of the first.
     */
    private static final String OPEN_HERE = "io.counterset.open:";

    /**
     * Lock files that other code in this JVM has locked. Kept open, because closing one would
     * release that lock.
     */
    private static final List<RandomAccessFile> NEVER_CLOSED = new ArrayList<>();

    /** A failure whose message needs no class name or other addition. */
    private static final class Refusal extends IOException {
        private static final long serialVersionUID = 1L;

        Refusal(String message) {
            super(message);
        }
    }

    private final Path given; // the path as the caller gave it: for messages, and to check where it leads
    private final Path directory;
    private final String registered;
    private final @Nullable Object identity; // null: the file system has none
    private final @Nullable SecureDirectoryStream<Path> names; // null: the system does not support it
    private final Lock lock;
    private volatile @Nullable String lost;

    /** The lock file as this process locked it: its identity and the content written to it. */
    private record Lock(RandomAccessFile file, @Nullable Object identity, String content) {}

    /**
     * Creates the directory if it does not exist, and locks it.
     *
     * @throws StoreLockedException if this JVM or another process has the directory open; nothing
     *     was changed
     * @throws StoreFullException if there is no room for the directory or its lock file
     * @throws DirectoryUnusableException if the directory cannot be created, read or written
     */
    static DirectoryStorage open(Path given) {
        try {
            create(given);
            Path real = given.toRealPath();
            String registered = OPEN_HERE + (identity(real) == null ? real : identity(real));
            if (System.getProperties()
                            .putIfAbsent(
                                    registered,
                                    String.valueOf(ProcessHandle.current().pid()))
                    != null) {
                throw new StoreLockedException(given, true, "");
            }
            boolean locked = false;
            try {
                DirectoryStorage storage = new DirectoryStorage(given, real, registered);
                locked = true;
                return storage;
            } finally {
                if (!locked) {
                    System.getProperties().remove(registered);
                }
            }
        } catch (IOException e) {
            throw unusable(given, e);
        }
    }

    private DirectoryStorage(Path given, Path real, String registered) throws IOException {
        this.given = given;
        this.directory = real;
        this.registered = registered;
        this.lock = lock(given, real);
        SecureDirectoryStream<Path> descriptor = null;
        boolean opened = false;
        try {
            descriptor = descriptor(real);
            this.names = descriptor;
            this.identity =
                    identity(real); // not earlier: on an overlay, creating the lock file may change the identity
            if (names != null
                    && !same(
                            identity, view(names, Path.of(".")).readAttributes().fileKey())) {
                throw new Refusal("another directory took its place while it was being opened");
            }
            opened = true;
        } finally {
            if (!opened) {
                try {
                    if (descriptor != null) {
                        descriptor.close();
                    }
                } finally {
                    lock.file.close();
                }
            }
        }
    }

    /**
     * Returns an open descriptor of the directory, or null where the system has no operations
     * relative to one.
     */
    @SuppressWarnings("StreamResourceLeak") // the caller closes it
    private static @Nullable SecureDirectoryStream<Path> descriptor(Path directory) throws IOException {
        DirectoryStream<Path> stream = Files.newDirectoryStream(directory);
        if (stream instanceof SecureDirectoryStream<Path> secure) {
            return secure;
        }
        stream.close();
        return null;
    }

    private static BasicFileAttributeView view(SecureDirectoryStream<Path> names, Path name) {
        return names.getFileAttributeView(name, BasicFileAttributeView.class, LinkOption.NOFOLLOW_LINKS);
    }

    private static boolean same(@Nullable Object one, @Nullable Object other) {
        return one == null || other == null || one.equals(other);
    }

    private static @Nullable Object identity(Path path, LinkOption... options) throws IOException {
        return Files.readAttributes(path, BasicFileAttributes.class, options).fileKey();
    }

    /**
     * Creates the directory and its missing parents, and syncs them, so that a power cut does not
     * remove them.
     */
    private static void create(Path directory) throws IOException {
        if (Files.isDirectory(directory)) {
            return;
        }
        refuseOtherThanADirectory(directory);
        Path parent = directory.toAbsolutePath().getParent();
        if (parent != null) {
            create(parent);
        }
        try {
            Files.createDirectory(directory);
        } catch (FileAlreadyExistsException e) {
            if (!Files.isDirectory(directory)) {
                throw e;
            }
        }
        if (parent != null) {
            sync(parent);
        }
    }

    private static void refuseOtherThanADirectory(Path path) throws IOException {
        refuseDanglingLink(path);
        if (Files.exists(path)) {
            throw new Refusal(path + " is not a directory");
        }
    }

    private static void refuseDanglingLink(Path path) throws IOException {
        if (Files.isSymbolicLink(path) && Files.notExists(path)) {
            throw new Refusal(path + " is a symbolic link to " + Files.readSymbolicLink(path)
                    + ", which does not exist; remove the link or create its target");
        }
    }

    private static void refuseLink(Path path, String because) throws IOException {
        refuseDanglingLink(path);
        if (Files.isSymbolicLink(path)) {
            throw new Refusal(path + " is a symbolic link to " + Files.readSymbolicLink(path) + "; it must be a file, "
                    + because);
        }
    }

    /**
     * Returns the exception for a directory that cannot be used, with a hint where the cause allows
     * one.
     */
    static CounterStoreException unusable(Path directory, IOException cause) {
        String message = String.valueOf(cause.getMessage());
        if (isOutOfSpace(directory, cause)) {
            return new StoreFullException(
                    directory + " has no room for a store: " + message
                            + "; nothing was added; free some space, then open the store again",
                    cause);
        }
        String hint = "";
        if (cause instanceof AccessDeniedException || message.contains("Permission denied")) {
            hint = "; this process, which runs as " + System.getProperty("user.name")
                    + ", needs permission to read and write the directory and to read its files";
        } else if (message.contains("File too large")) {
            hint = "; a limit on the size of files is too small for a journal (ulimit -f, RLIMIT_FSIZE)";
        } else if (message.contains("Too many open files")) {
            hint = "; a limit on the number of open files is reached (ulimit -n, RLIMIT_NOFILE)";
        }
        return new DirectoryUnusableException(
                directory, (cause instanceof Refusal ? message : String.valueOf(cause)) + hint, cause);
    }

    /**
     * Takes a lock of the operating system. However the process ends, the system then releases it.
     */
    private static Lock lock(Path given, Path directory) throws IOException {
        Path path = directory.resolve(LOCK);
        refuseLink(path, "because a lock belongs to a file");
        boolean existed = Files.exists(path);
        RandomAccessFile file = new RandomAccessFile(path.toFile(), "rw");
        boolean locked = false;
        boolean keep = false;
        try {
            if (!existed) {
                shareWithGroup(directory, path);
            }
            FileLock lock = file.getChannel().tryLock();
            if (lock == null) {
                byte[] holder = new byte[64];
                int length = Math.max(0, file.read(holder)); // the holder may be writing it right now
                String content = new String(holder, 0, length, StandardCharsets.US_ASCII).strip();
                throw new StoreLockedException(given, false, content.split(" ", 2)[0]);
            }
            String content = ProcessHandle.current().pid() + " " + UUID.randomUUID() + "\n";
            file.write(content.getBytes(
                    StandardCharsets.US_ASCII)); // over the former content, so that it works on a full disk
            file.setLength(content.length());
            Lock held = new Lock(file, identity(path), content);
            locked = true;
            return held;
        } catch (OverlappingFileLockException e) {
            keep = true;
            synchronized (NEVER_CLOSED) {
                NEVER_CLOSED.add(file);
            }
            throw new StoreLockedException(given, true, "");
        } finally {
            if (!locked && !keep) {
                file.close();
            }
        }
    }

    /**
     * Lets the group read and write the file if the group may write to the directory. Then a
     * process of another user in the group, such as a pod with another user ID, can open the store
     * next.
     */
    private static void shareWithGroup(Path directory, Path file) throws IOException {
        PosixFileAttributeView view =
                Files.getFileAttributeView(file, PosixFileAttributeView.class, LinkOption.NOFOLLOW_LINKS);
        if (view == null) {
            return;
        }
        PosixFileAttributes above = Files.readAttributes(directory, PosixFileAttributes.class);
        PosixFileAttributes own = view.readAttributes();
        if (above.permissions().contains(PosixFilePermission.GROUP_WRITE)
                && above.group().equals(own.group())) {
            Set<PosixFilePermission> rights = own.permissions();
            if (rights.addAll(Set.of(PosixFilePermission.GROUP_READ, PosixFilePermission.GROUP_WRITE))) {
                view.setPermissions(rights);
            }
        }
    }

    // ---- still the locked directory ----

    @Override
    public void verify() {
        try {
            check();
        } catch (IOException e) {
            // If the directory or its lock is lost, requireHeld now throws. If it was only
            // unreadable, the next call checks again.
        }
    }

    @Override
    public void requireHeld() throws IOException {
        String reason = lost;
        if (reason != null) {
            throw new Refusal(reason);
        }
    }

    private synchronized void check() throws IOException {
        requireHeld();
        try {
            if (!same(identity, identity(given))) {
                lost = given + " is no longer the directory that this store locked: another one took its place";
            } else if (!same(lock.identity, identity(directory.resolve(LOCK), LinkOption.NOFOLLOW_LINKS))) {
                lost = directory.resolve(LOCK) + " is no longer the file that this store locked";
            } else if (!lockHasOurContent()) {
                lost = "another process has locked " + directory + ", although this store has not released it";
            }
        } catch (NoSuchFileException e) {
            lost = e.getFile() + " is gone, and so is the lock of this store";
        }
        requireHeld();
    }

    private boolean lockHasOurContent() throws IOException {
        byte[] found = new byte[lock.content.length()];
        lock.file.seek(0);
        int length = lock.file.read(found);
        return length == found.length && new String(found, StandardCharsets.US_ASCII).equals(lock.content);
    }

    // ---- names ----

    @Override
    public String locate(String name) {
        return given.resolve(name).toString();
    }

    private Path path(String name) {
        return directory.resolve(name);
    }

    @Override
    public boolean exists(String name) throws IOException {
        try {
            identity(path(name));
            return true;
        } catch (NoSuchFileException e) { // only this means absence; any other failure must not start a new journal
            refuseDanglingLink(path(name));
            requireHere();
            return false;
        }
    }

    /**
     * Checks that the directory is still in its place; if it is not, a missing file proves nothing.
     */
    private void requireHere() throws IOException {
        if (!same(identity, identity(directory))) {
            throw new Refusal("another directory took the place of " + directory);
        }
    }

    @Override
    public Region open(String name) throws IOException {
        Path path = path(name);
        if (name.equals(Journal.FILE)) {
            refuseLink(path, "because opening the store replaces it");
        }
        return readOnly(path);
    }

    /** Opens a file in any directory for reading. */
    static Region readOnly(Path path) throws IOException {
        if (Files.isDirectory(path)) {
            throw new Refusal(path + " is a directory; it must be a file");
        }
        RandomAccessFile file = new RandomAccessFile(path.toFile(), "r");
        return new FileRegion(file, file);
    }

    @Override
    public Region create(String name) throws IOException {
        Path path = path(name);
        delete(name); // a file of that name may have further names (hard links)
        Set<StandardOpenOption> options = Set.of(StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
        if (names == null) {
            Files.newByteChannel(path, options).close();
        } else {
            names.newByteChannel(Path.of(name), options).close();
            Object created = view(names, Path.of(name)).readAttributes().fileKey();
            if (!same(created, identity(path, LinkOption.NOFOLLOW_LINKS))) {
                throw new Refusal("another directory took the place of " + directory);
            }
        }
        shareWithGroup(directory, path);
        return FileRegion.writable(path);
    }

    @Override
    public void overwrite(String name, byte[] content) throws IOException {
        check();
        if (!exists(name)) { // mode rw would create it
            throw new NoSuchFileException(path(name).toString());
        }
        try (RandomAccessFile file = new RandomAccessFile(path(name).toFile(), "rw")) {
            file.write(content);
            file.setLength(content.length);
        }
    }

    @Override
    public void delete(String name) throws IOException {
        check();
        if (names == null) {
            Files.deleteIfExists(path(name));
            return;
        }
        try {
            names.deleteFile(Path.of(name));
        } catch (NoSuchFileException e) {
            // Already absent.
        }
    }

    @Override
    public void replace(String from, String to) throws IOException {
        check();
        if (names == null) {
            Files.move(path(from), path(to), StandardCopyOption.ATOMIC_MOVE);
        } else {
            names.move(Path.of(from), names, Path.of(to));
        }
    }

    @Override
    public void syncNames() throws IOException {
        sync(directory);
        requireHere(); // otherwise another directory may have been synced
    }

    private static void sync(Path directory) throws IOException {
        boolean interrupted = false;
        try {
            while (true) {
                interrupted |= Thread.interrupted();
                try (FileChannel channel = FileChannel.open(directory, StandardOpenOption.READ)) {
                    channel.force(true);
                    return;
                } catch (ClosedByInterruptException e) {
                    interrupted = true; // not a failure of the disk; retried with a new channel
                }
            }
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    @Override
    public long freeSpace() {
        return directory.toFile().getUsableSpace();
    }

    @Override
    public boolean isOutOfSpace(IOException failure) {
        return isOutOfSpace(directory, failure);
    }

    private static boolean isOutOfSpace(Path directory, IOException failure) {
        String message = String.valueOf(failure.getMessage()).toLowerCase(Locale.ROOT);
        if (message.contains("no space left") || message.contains("quota exceeded")) {
            return true;
        }
        Class<?> kind = failure.getClass();
        if (!kind.equals(IOException.class) && !kind.equals(FileSystemException.class)) {
            return false; // it has another cause, even if the disk is full
        }
        try { // the message may be localised
            return Files.getFileStore(directory).getUsableSpace() < PIECE;
        } catch (IOException e) {
            return false;
        }
    }

    @Override
    public void close() throws IOException {
        try {
            if (names != null) {
                names.close();
            }
        } finally {
            try {
                lock.file.close();
            } finally {
                System.getProperties().remove(registered);
            }
        }
    }

    private static final class FileRegion implements Region {

        /**
         * How many bytes are written before they are synced. A commit to another file waits behind
         * them on the device, so a larger journal that is being filled must not delay it for long.
         */
        private static final long MOST_UNSYNCED = 4L << 20;

        private final RandomAccessFile file;

        /**
         * The same file in mode {@code rwd}. Both are opened at once, because the file's name may
         * change later.
         */
        private final RandomAccessFile durable;

        private long unsynced; // bytes

        FileRegion(RandomAccessFile file, RandomAccessFile durable) {
            this.file = file;
            this.durable = durable;
        }

        static FileRegion writable(Path path) throws IOException {
            RandomAccessFile file = new RandomAccessFile(path.toFile(), "rw");
            try {
                return new FileRegion(file, new RandomAccessFile(path.toFile(), "rwd"));
            } catch (IOException e) {
                file.close();
                throw e;
            }
        }

        @Override
        public long size() throws IOException {
            return file.length();
        }

        @Override
        public void read(long position, byte[] target, int offset, int length) throws IOException {
            file.seek(position);
            file.readFully(target, offset, length);
        }

        @Override
        public void write(long position, byte[] source, int offset, int length) throws IOException {
            file.seek(position);
            for (int done = 0; done < length; done += PIECE) {
                int piece = Math.min(PIECE, length - done);
                file.write(source, offset + done, piece);
                unsynced += piece;
                if (unsynced >= MOST_UNSYNCED) {
                    sync();
                }
            }
        }

        @Override
        public void sync() throws IOException {
            file.getFD().sync();
            unsynced = 0;
        }

        @Override
        public void commit(long position, byte[] source, int offset, int length) throws IOException {
            if (length > PIECE) {
                write(position, source, offset, length);
                sync();
            } else {
                durable.seek(position);
                durable.write(source, offset, length);
            }
        }

        @Override
        public void close() throws IOException {
            try (durable) {
                file.close();
            }
        }
    }
}
