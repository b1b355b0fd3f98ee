package io.counterset;

import io.counterset.CounterStoreException.DirectoryUnusableException;
import io.counterset.CounterStoreException.StoreLockedException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;

/**
 * A directory of the file system, locked for as long as it is open.
 *
 * <p>Files are {@link RandomAccessFile}s because a commit runs in a caller's thread: an interrupt closes a
 * {@link FileChannel} in the middle of a write, and leaves a {@code RandomAccessFile} alone. Mode {@code rwd} is
 * {@code O_DSYNC}: one system call writes and flushes.
 */
final class DirectoryStorage implements Storage {

    static final String LOCK = "counters.lock";

    /** Beyond this a plain write and one flush at the end is faster than a flush per piece. */
    private static final int PIECE = 1 << 20;

    /**
     * The directories this class has open, by identity of the directory. Asked before the lock file is opened: closing
     * a second descriptor of it would silently drop the first one's POSIX lock.
     */
    private static final Set<Object> OPEN_HERE = ConcurrentHashMap.newKeySet();

    /** Lock files that another copy of this class in this JVM holds; kept open for the reason above. */
    private static final List<RandomAccessFile> NEVER_CLOSED = new ArrayList<>();

    private final Path directory;
    private final Object identity;
    private final RandomAccessFile lockFile;

    /**
     * Creates the directory if need be, and locks it.
     *
     * @throws StoreLockedException if this JVM or another process has it open; nothing was changed
     * @throws DirectoryUnusableException if it cannot be created, read or written
     */
    static DirectoryStorage open(Path directory) {
        try {
            create(directory);
            Path real = directory.toRealPath();
            Object key = Files.readAttributes(real, BasicFileAttributes.class).fileKey();
            Object identity = key == null ? real : key;
            if (!OPEN_HERE.add(identity)) {
                throw new StoreLockedException(directory, true, "");
            }
            boolean locked = false;
            try {
                DirectoryStorage storage = new DirectoryStorage(directory, identity, lock(directory));
                locked = true;
                return storage;
            } finally {
                if (!locked) {
                    OPEN_HERE.remove(identity);
                }
            }
        } catch (IOException e) {
            throw new DirectoryUnusableException(directory, e);
        }
    }

    private DirectoryStorage(Path directory, Object identity, RandomAccessFile lockFile) {
        this.directory = directory;
        this.identity = identity;
        this.lockFile = lockFile;
    }

    /** Creates the directory and those above it as needed, so that a power cut does not take them back. */
    private static void create(Path directory) throws IOException {
        if (Files.isDirectory(directory)) {
            return;
        }
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

    /** The lock is the operating system's, so it ends with the process however that ends. */
    private static RandomAccessFile lock(Path directory) throws IOException {
        RandomAccessFile file = new RandomAccessFile(directory.resolve(LOCK).toFile(), "rw");
        @Nullable FileLock lock;
        try {
            lock = file.getChannel().tryLock();
        } catch (OverlappingFileLockException e) {
            synchronized (NEVER_CLOSED) {
                NEVER_CLOSED.add(file);
            }
            throw new StoreLockedException(directory, true, "");
        } catch (IOException e) {
            file.close();
            throw e;
        }
        if (lock == null) {
            byte[] holder = new byte[64];
            int length = Math.max(0, file.read(holder)); // the holder may be writing it just now
            file.close();
            throw new StoreLockedException(
                    directory, false, new String(holder, 0, length, StandardCharsets.US_ASCII).strip());
        }
        file.setLength(0);
        file.write((ProcessHandle.current().pid() + "\n").getBytes(StandardCharsets.US_ASCII));
        return file;
    }

    @Override
    public String locate(String name) {
        return directory.resolve(name).toString();
    }

    @Override
    public boolean exists(String name) throws IOException {
        try {
            Files.readAttributes(directory.resolve(name), BasicFileAttributes.class);
            return true;
        } catch (NoSuchFileException e) {
            return false; // and any other failure is one: to take it for absence would begin a new journal over the old
        }
    }

    @Override
    public Region open(String name) throws IOException {
        Path path = directory.resolve(name);
        if (!exists(name)) { // mode rw would create it
            throw new NoSuchFileException(path.toString());
        }
        return new FileRegion(path);
    }

    @Override
    public Region create(String name) throws IOException {
        FileRegion region = new FileRegion(directory.resolve(name));
        try {
            region.file.setLength(0);
        } catch (IOException e) {
            region.close();
            throw e;
        }
        return region;
    }

    @Override
    public void delete(String name) throws IOException {
        Files.deleteIfExists(directory.resolve(name));
    }

    @Override
    public void replace(String from, String to) throws IOException {
        Files.move(directory.resolve(from), directory.resolve(to), StandardCopyOption.ATOMIC_MOVE);
    }

    @Override
    public void syncNames() throws IOException {
        sync(directory);
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
                    interrupted = true; // not a failure of the disk; a new channel asks again
                }
            }
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    @Override
    public boolean isOutOfSpace(IOException failure) {
        String message = String.valueOf(failure.getMessage()).toLowerCase(Locale.ROOT);
        if (message.contains("no space left") || message.contains("quota exceeded")) {
            return true;
        }
        try { // the system may say it in another language
            return Files.getFileStore(directory).getUsableSpace() < PIECE;
        } catch (IOException e) {
            return false;
        }
    }

    @Override
    public void close() throws IOException {
        try {
            lockFile.close();
        } finally {
            OPEN_HERE.remove(identity);
        }
    }

    private static final class FileRegion implements Region {

        private final RandomAccessFile file;

        /** The same file in mode {@code rwd}; opened now, because the file's name may change. */
        private final RandomAccessFile durable;

        FileRegion(Path path) throws IOException {
            this.file = new RandomAccessFile(path.toFile(), "rw");
            try {
                this.durable = new RandomAccessFile(path.toFile(), "rwd");
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
                file.write(source, offset + done, Math.min(PIECE, length - done));
            }
        }

        @Override
        public void sync() throws IOException {
            file.getFD().sync();
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
