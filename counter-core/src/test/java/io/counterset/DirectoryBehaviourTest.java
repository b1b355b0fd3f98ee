// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.awaitility.Awaitility.await;

import io.counterset.CounterStoreException.DirectoryUnusableException;
import io.counterset.CounterStoreException.StoreLockedException;
import io.counterset.CounterStoreException.TooManyCountersException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.ref.WeakReference;
import java.lang.reflect.InvocationTargetException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The tests of {@link BehaviourKit} on a real directory, and tests of locks, links and permissions.
 */
class DirectoryBehaviourTest extends BehaviourKit {

    @TempDir
    Path temporary = Path.of("");

    private Path directory() {
        return temporary.resolve("data");
    }

    @Override
    Storage storage() {
        return DirectoryStorage.open(directory());
    }

    @Override
    CounterStore.Builder builder() {
        return CounterStore.builder(directory());
    }

    @Override
    CounterStore open(CounterStore.Builder builder) {
        return builder.open();
    }

    @Override
    String builderPath() {
        return directory().toString();
    }

    @Override
    byte @Nullable [] file(String name) {
        try {
            Path file = directory().resolve(name);
            return Files.exists(file) ? Files.readAllBytes(file) : null;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    void put(String name, byte[] content) {
        try {
            Files.createDirectories(directory());
            Files.write(directory().resolve(name), content);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Test
    void holdsAMillionCountersAndRefusesOneMore() {
        int million = 1_000_000;
        CounterStore.Builder builder = builder().durability(Durability.periodic(Duration.ofMillis(100)));
        try (CounterStore store = builder.open()) {
            for (int i = 0; i < million; i++) {
                store.counter("c" + i).add(i + 1);
            }
            assertThatThrownBy(() -> store.counter("one more").increment())
                    .isInstanceOf(TooManyCountersException.class)
                    .hasMessageContaining("1,000,000 counters, which is the limit; one more was not created");
            assertThat(store.counter("c7").increment()).isEqualTo(9);
        }
        try (CounterStore store = builder.open()) {
            assertThat(store.snapshot()).hasSize(million);
            assertThat(store.counter("c7").value()).isEqualTo(9);
            assertThat(store.counter("c999999").value()).isEqualTo(million);
        }
    }

    @Test
    void leavesTheDocumentedFilesAndNoOthers() throws IOException {
        try (CounterStore store = builder().countFile("c").minHalf(4096).open()) {
            for (int i = 0; i < 100; i++) {
                store.counter("c" + i + "-".repeat(100)).increment();
            }
        }
        try (Stream<Path> files = Files.list(directory())) {
            assertThat(files.map(file -> file.getFileName().toString()))
                    .containsExactlyInAnyOrder("counters.journal", "counters.lock", "count.txt");
        }
    }

    @Test
    void createsAMissingDirectory() {
        Path deep = temporary.resolve("a/b/c");
        try (CounterStore store = CounterStore.open(deep)) {
            store.counter("c").increment();
        }
        assertThat(deep.resolve("counters.journal")).exists();
    }

    @Test
    void opensOnlyOnceInThisJvm() {
        try (CounterStore store = open()) {
            store.counter("c").increment();
            StoreLockedException locked = (StoreLockedException) catchThrowable(this::open);
            assertThat(locked).hasMessageContainingAll(builderPath(), "already open in this JVM");
            assertThat(locked.heldByThisJvm()).isTrue();
            store.counter("c").increment();
        }
        try (CounterStore store = open()) {
            assertThat(store.counter("c").value()).isEqualTo(2);
        }
    }

    @Test
    void opensOnlyOnceAcrossTwoCopiesOfTheLibrary() throws Exception {
        try (CounterStore store = open()) {
            store.counter("c").increment();
            Class<?> copy = new Mutant()
                    .change(Batch.class, "final class Batch {", "final class Batch { // another copy")
                    .load(CounterStore.class);
            for (int i = 0; i < 2; i++) { // a refused attempt does not release the lock
                InvocationTargetException thrown = catchThrowableOfType(
                        InvocationTargetException.class,
                        () -> copy.getMethod("open", Path.class).invoke(null, directory()));
                Throwable locked = requireNonNull(thrown.getCause());
                assertThat(locked.getClass().getSimpleName()).isEqualTo("StoreLockedException");
                assertThat(locked).hasMessageContaining("in this JVM");
            }
            try (ChildJvm child = ChildJvm.start(directory())) {
                assertThat(child.line()).startsWith("refused");
            }
        }
    }

    @Test
    void opensOnlyOnceThroughALink() throws IOException {
        Files.createDirectories(directory());
        Path link = Files.createSymbolicLink(temporary.resolve("link"), directory());
        try (CounterStore store = CounterStore.open(link)) {
            store.counter("c").increment();
            assertThatThrownBy(this::open).isInstanceOf(StoreLockedException.class);
        }
        try (CounterStore store = open()) {
            assertThat(store.counter("c").value()).isEqualTo(1);
            assertThatThrownBy(() -> CounterStore.open(link)).isInstanceOf(StoreLockedException.class);
        }
    }

    @Test
    void opensInOnlyOneProcess() throws Exception {
        try (ChildJvm child = ChildJvm.start(directory())) {
            assertThat(child.line()).isEqualTo("opened 0");
            StoreLockedException locked = (StoreLockedException) catchThrowable(this::open);
            assertThat(locked)
                    .hasMessageContainingAll(builderPath(), "in use by another process", "process id " + child.pid());
            assertThat(locked.heldByThisJvm()).isFalse();
            child.kill();
        }
        try (CounterStore store = open()) { // the lock was released when its holder ended
            store.counter("c").increment();
            try (ChildJvm child = ChildJvm.start(directory())) {
                assertThat(child.line())
                        .startsWith("refused")
                        .contains("process id " + ProcessHandle.current().pid());
            }
        }
    }

    @Test
    void refusesAFileInPlaceOfTheDirectory() throws IOException {
        Files.writeString(directory(), "not a directory");
        assertThatThrownBy(this::open)
                .isInstanceOf(DirectoryUnusableException.class)
                .hasMessageContainingAll(builderPath() + " is not a directory", "no count was changed");
        assertThatThrownBy(() -> CounterStore.open(directory().resolve("below")))
                .isInstanceOf(DirectoryUnusableException.class)
                .hasMessageContaining(builderPath() + " is not a directory");
    }

    @Test
    void refusesADirectoryInPlaceOfAFile() throws IOException {
        Files.createDirectories(directory().resolve(CountFile.FILE));
        assertThatThrownBy(() -> builder().countFile("c").open())
                .isInstanceOf(DirectoryUnusableException.class)
                .hasMessageContaining("count.txt is a directory; it must be a file");
        Files.createDirectories(directory().resolve(Journal.FILE));
        assertThatThrownBy(this::open)
                .isInstanceOf(DirectoryUnusableException.class)
                .hasMessageContaining("counters.journal is a directory; it must be a file");
        assertThat(directory().resolve(Journal.FILE)).isDirectory();
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "counters.journal", "counters.lock", "count.txt"})
    void refusesADanglingLink(String name) throws IOException {
        Path link = name.isEmpty() ? directory() : directory().resolve(name);
        Files.createDirectories(requireNonNull(link.getParent()));
        Path target = temporary.resolve("elsewhere/" + name);
        Files.createSymbolicLink(link, target);
        assertThatThrownBy(() -> builder().countFile("c").open())
                .isInstanceOf(DirectoryUnusableException.class)
                .hasMessageContaining(link + " is a symbolic link to " + target + ", which does not exist");
        assertThat(link).isSymbolicLink();
        assertThat(target).doesNotExist();
    }

    @ParameterizedTest
    @ValueSource(strings = {"counters.journal", "counters.lock"})
    void refusesAJournalOrLockThatIsALink(String name) throws IOException {
        try (CounterStore store = open()) {
            store.counter("c").add(4);
        }
        Path target = temporary.resolve("elsewhere");
        Files.move(directory().resolve(name), target);
        Files.createSymbolicLink(directory().resolve(name), target);
        assertThatThrownBy(this::open)
                .isInstanceOf(DirectoryUnusableException.class)
                .hasMessageContainingAll("is a symbolic link to " + target, "must be a file");
        Files.move(target, directory().resolve(name), StandardCopyOption.REPLACE_EXISTING);
        try (CounterStore store = open()) {
            assertThat(store.counter("c").value()).isEqualTo(4);
        }
    }

    @Test
    void reportsALimitOnFileSize() throws Exception {
        try (ChildJvm child =
                ChildJvm.startLimited("ulimit -f 1024", directory())) { // 512 KiB or 1 MiB, depending on the shell
            assertThat(child.line())
                    .startsWith("refused")
                    .contains("a limit on the size of files is too small for a journal (ulimit -f, RLIMIT_FSIZE)");
        }
    }

    @Test
    void importsACountFileThroughALinkAndThenReplacesTheLink() throws IOException {
        Files.createDirectories(directory());
        Path target = Files.writeString(temporary.resolve("old"), "41\n");
        Files.createSymbolicLink(directory().resolve(CountFile.FILE), target);
        try (CounterStore store = builder().countFile("c").open()) {
            store.counter("c").increment();
        }
        assertThat(directory().resolve(CountFile.FILE)).isRegularFile().hasContent("42\n");
        assertThat(Files.isSymbolicLink(directory().resolve(CountFile.FILE))).isFalse();
        assertThat(target).hasContent("41\n");
    }

    @Test
    void aNewJournalIsNeverWrittenThroughAHardLink() throws IOException {
        try (CounterStore store = open()) {
            store.counter("c").add(5);
        }
        byte[] before = Files.readAllBytes(directory().resolve(Journal.FILE));
        Path copy = temporary.resolve("copy");
        Files.createLink(copy, directory().resolve(Journal.FILE));
        Files.createLink(directory().resolve(Journal.NEW_FILE), directory().resolve(Journal.FILE));
        try (CounterStore store = open()) {
            assertThat(store.counter("c").value()).isEqualTo(5);
        }
        assertThat(copy).hasBinaryContent(before);
    }

    @Test
    void filesThatAreOnlyReadNeedNotBeWritable() throws IOException {
        Files.createDirectories(directory());
        Path text = Files.writeString(directory().resolve(CountFile.FILE), "41\n");
        Mounts.whileFileIsReadOnly(text, () -> {
            try (CounterStore store = builder().countFile("c").open()) {
                assertThat(store.counter("c").increment()).isEqualTo(42);
            }
        });
        Mounts.whileFileIsReadOnly(directory().resolve(Journal.FILE), () -> {
            try (DirectoryStorage storage = DirectoryStorage.open(directory())) {
                assertThat(Journal.read(storage, IdempotencyWindow.DEFAULT).cells())
                        .containsKey("c");
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        });
    }

    @Test
    void groupPermissionsOfFilesFollowTheDirectory() throws IOException {
        Files.createDirectories(directory());
        Files.setPosixFilePermissions(directory(), PosixFilePermissions.fromString("rwxrwx---"));
        try (CounterStore store = builder().countFile("c").open()) {
            store.counter("c").increment();
        }
        for (String name : List.of(Journal.FILE, CountFile.FILE, DirectoryStorage.LOCK)) {
            assertThat(Files.getPosixFilePermissions(directory().resolve(name)))
                    .as(name)
                    .contains(PosixFilePermission.GROUP_READ, PosixFilePermission.GROUP_WRITE);
        }
        Files.setPosixFilePermissions(directory(), PosixFilePermissions.fromString("rwxr-xr-x"));
        try (CounterStore store = builder().countFile("c").open()) {
            store.counter("c").increment();
        }
        for (String name : List.of(Journal.FILE, CountFile.FILE)) {
            assertThat(Files.getPosixFilePermissions(directory().resolve(name)))
                    .as(name)
                    .doesNotContain(PosixFilePermission.GROUP_WRITE);
        }
    }

    @Test
    void aCountFileThatCannotBeReplacedIsWrittenInPlace() throws IOException {
        Files.createDirectories(directory());
        Path text = Files.writeString(directory().resolve(CountFile.FILE), "41\n");
        List<String> warnings = new CopyOnWriteArrayList<>();
        boolean mounted = Mounts.whileMountedByItself(text, () -> {
            try (CounterStore store =
                    builder().countFile("c").onWarning(warnings::add).open()) {
                store.counter("c").increment();
                await().atMost(Duration.ofSeconds(10))
                        .untilAsserted(() -> assertThat(text).hasContent("42\n"));
                assertThat(directory().resolve(CountFile.NEW_FILE)).doesNotExist();
                store.counter("c").increment();
            }
            assertThat(text).hasContent("43\n");
        });
        Assumptions.assumeTrue(mounted, "this process may not mount");
        assertThat(warnings).isEmpty();
    }

    @Test
    void anUnwritableCountFileIsReportedOnceAndAgainWhenItRecovers() throws IOException {
        List<String> warnings = new CopyOnWriteArrayList<>();
        AtomicLong nanos = new AtomicLong();
        Path text = directory().resolve(CountFile.FILE);
        try (CounterStore store = builder()
                .countFile("c")
                .onWarning(warnings::add)
                .clocks(System::currentTimeMillis, nanos::get)
                .withoutThreads()
                .open()) {
            Files.delete(text);
            Files.createDirectories(text.resolve("in the way"));
            long before = store.statistics().countFileFailures();
            for (int i = 0; i < 600; i++) { // a minute
                store.counter("c").increment();
                nanos.addAndGet(100_000_000);
                store.keepHouse();
            }
            assertThat(store.statistics().countFileFailures() - before).isBetween(5L, 15L);
            assertThat(warnings)
                    .singleElement()
                    .asString()
                    .contains(text.toString(), "cannot be written", "counting goes on");
            assertThat(directory().resolve(CountFile.NEW_FILE)).doesNotExist();
            Files.delete(text.resolve("in the way"));
            Files.delete(text);
            nanos.addAndGet(61_000_000_000L);
            store.keepHouse();
            assertThat(text).hasContent("600\n");
            assertThat(warnings).hasSize(2).element(1).asString().contains("written again");
        }
    }

    // ---- the directory that was locked ----

    private void failsSoon(CounterStore store, String reason) {
        await().atMost(Duration.ofSeconds(10)).until(() -> store.failure().isPresent());
        assertThat(store.isAccepting()).isFalse();
        assertThat(store.failure().orElseThrow()).hasMessageContaining(reason);
        assertThatThrownBy(() -> store.counter("c").increment())
                .isInstanceOf(CounterStoreException.StoreFailedException.class)
                .hasMessageContaining("nothing was added");
    }

    @Test
    void aStoreWhoseLinkIsSwitchedFailsWithoutTouchingTheOtherStore() throws IOException {
        Path other = temporary.resolve("other");
        try (CounterStore store = CounterStore.open(other)) {
            store.counter("c").add(1000);
        }
        byte[] journal = Files.readAllBytes(other.resolve(Journal.FILE));
        Files.createDirectories(directory());
        Path link = Files.createSymbolicLink(temporary.resolve("current"), directory());
        try (CounterStore store =
                CounterStore.builder(link).countFile("c").minHalf(4096).open()) {
            store.counter("c").increment();
            Path next = Files.createSymbolicLink(temporary.resolve("next"), other);
            Files.move(next, link, StandardCopyOption.ATOMIC_MOVE);
            failsSoon(store, "no longer the directory that this store locked");
        }
        assertThat(other.resolve(Journal.FILE)).hasBinaryContent(journal);
        assertThat(other.resolve(CountFile.FILE)).doesNotExist();
    }

    @Test
    void growingNeverRenamesOverAnotherStore() throws IOException {
        Path moved = temporary.resolve("moved");
        byte[] journal;
        try (DirectoryStorage storage = DirectoryStorage.open(directory())) {
            Storage.Region region = storage.create(Journal.NEW_FILE);
            region.close();
            Files.move(directory(), moved);
            try (CounterStore other = open()) {
                other.counter("c").add(7);
            }
            journal = Files.readAllBytes(directory().resolve(Journal.FILE));
            assertThatThrownBy(() -> storage.replace(Journal.NEW_FILE, Journal.FILE))
                    .hasMessageContaining("another one took its place");
            assertThatThrownBy(() -> storage.create(Journal.NEW_FILE)).isInstanceOf(IOException.class);
            assertThatThrownBy(() -> storage.overwrite(Journal.FILE, new byte[1]))
                    .isInstanceOf(IOException.class);
            assertThatThrownBy(() -> storage.delete(Journal.FILE)).isInstanceOf(IOException.class);
            assertThatThrownBy(storage::requireHeld).isInstanceOf(IOException.class);
        }
        assertThat(directory().resolve(Journal.FILE)).hasBinaryContent(journal);
        try (CounterStore other = open()) {
            assertThat(other.counter("c").value()).isEqualTo(7);
        }
    }

    @Test
    void aStoreWhoseDirectoryIsDeletedFails() throws IOException {
        try (CounterStore store = builder().countFile("c").open()) {
            store.counter("c").increment();
            await().until(() -> Files.readString(directory().resolve(CountFile.FILE))
                    .equals("1\n")); // no file is created after this
            try (Stream<Path> files = Files.list(directory())) {
                for (Path file : files.toList()) {
                    Files.delete(file);
                }
            }
            Files.delete(directory());
            failsSoon(store, "is gone");
        }
        assertThat(directory()).doesNotExist();
    }

    @Test
    void aStoreWhoseLockFileIsDeletedFails() throws IOException {
        try (CounterStore store = open()) {
            store.counter("c").increment();
            Files.delete(directory().resolve(DirectoryStorage.LOCK));
            failsSoon(store, "is gone");
        }
        try (CounterStore store = open()) {
            store.counter("c").increment();
            Path lock = directory().resolve(DirectoryStorage.LOCK);
            Files.move(lock, directory().resolve("old"));
            Files.createFile(lock);
            failsSoon(store, "no longer the file that this store locked");
        }
    }

    @Test
    void aStoreWhoseLockWasDroppedFailsWhenAnotherProcessOpens() throws Exception {
        try (CounterStore store = open()) {
            store.counter("c").increment();
            Files.readAllBytes(
                    directory().resolve(DirectoryStorage.LOCK)); // on POSIX, closing this descriptor releases the lock
            try (ChildJvm child = ChildJvm.start(directory())) {
                String line = String.valueOf(child.line());
                if (line.startsWith("opened")) {
                    failsSoon(store, "another process has locked");
                } else {
                    assertThat(line).startsWith("refused"); // on systems where locks belong to descriptors
                }
            }
        }
    }

    @Test
    void unloadingACopyOfTheLibraryKeepsTheLock() throws Exception {
        try (CounterStore store = open()) {
            store.counter("c").increment();
            WeakReference<ClassLoader> loader = new WeakReference<>(refusedInACopy());
            for (int i = 0; i < 50 && loader.get() != null; i++) {
                System.gc();
                Thread.sleep(10); // the collector clears references in another thread
            }
            assertThat(loader.get()).as("the copy is unloaded").isNull();
            try (ChildJvm child = ChildJvm.start(directory())) {
                assertThat(child.line()).startsWith("refused");
            }
            store.counter("c").increment();
        }
    }

    private ClassLoader refusedInACopy() throws Exception {
        Class<?> copy = new Mutant()
                .change(Batch.class, "final class Batch {", "final class Batch { // another copy")
                .load(CounterStore.class);
        assertThatThrownBy(() -> copy.getMethod("open", Path.class).invoke(null, directory()))
                .cause()
                .hasMessageContaining("in this JVM");
        return copy.getClassLoader();
    }

    @Test
    void refusesAReadOnlyDirectory() throws IOException {
        try (CounterStore store = open()) {
            store.counter("c").increment();
        }
        Mounts.whileReadOnly(
                directory(),
                () -> assertThatThrownBy(this::open)
                        .isInstanceOf(DirectoryUnusableException.class)
                        .hasMessageContainingAll(builderPath(), "cannot be used", "no count was changed"));
        try (CounterStore store = open()) {
            assertThat(store.counter("c").value()).isEqualTo(1);
        }
    }
}
