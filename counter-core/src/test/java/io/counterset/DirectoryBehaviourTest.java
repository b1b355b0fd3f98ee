package io.counterset;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.counterset.CounterStoreException.DirectoryUnusableException;
import io.counterset.CounterStoreException.StoreFullException;
import io.counterset.CounterStoreException.StoreLockedException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.reflect.InvocationTargetException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The kit on a real directory, and what only a real one has: locks, links, rights. */
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
                    .isInstanceOf(StoreFullException.class)
                    .hasMessageContaining("1,000,000 counters, as many as it may; one more was not created");
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
    void createsADirectoryThatIsMissing() {
        Path deep = temporary.resolve("a/b/c");
        try (CounterStore store = CounterStore.open(deep)) {
            store.counter("c").increment();
        }
        assertThat(deep.resolve("counters.journal")).exists();
    }

    @Test
    void isOpenOnceInThisJvm() {
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
    void isOpenOnceThoughTheLibraryIsThereTwice() throws Exception {
        try (CounterStore store = open()) {
            store.counter("c").increment();
            Class<?> copy = new Mutant()
                    .change(Batch.class, "final class Batch {", "final class Batch { // another copy")
                    .load(CounterStore.class);
            for (int i = 0; i < 2; i++) { // asking does not break the lock
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
    void isOpenOnceThroughALink() throws IOException {
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
    void isOpenInOneProcess() throws Exception {
        try (ChildJvm child = ChildJvm.start(directory())) {
            assertThat(child.line()).isEqualTo("opened 0");
            StoreLockedException locked = (StoreLockedException) catchThrowable(this::open);
            assertThat(locked)
                    .hasMessageContainingAll(builderPath(), "in use by another process", "process id " + child.pid());
            assertThat(locked.heldByThisJvm()).isFalse();
            child.kill();
        }
        try (CounterStore store = open()) { // the lock ended with its holder
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
                .hasMessageContainingAll(builderPath(), "cannot be used", "must be a directory this process may write");
        assertThatThrownBy(() -> CounterStore.open(directory().resolve("below")))
                .isInstanceOf(DirectoryUnusableException.class);
    }

    @Test
    void refusesADirectoryInPlaceOfTheJournal() throws IOException {
        Files.createDirectories(directory().resolve(Journal.FILE));
        assertThatThrownBy(this::open).isInstanceOf(DirectoryUnusableException.class);
        assertThat(directory().resolve(Journal.FILE)).isDirectory();
    }

    @Test
    void refusesADirectoryItMayNotWrite() throws IOException {
        try (CounterStore store = open()) {
            store.counter("c").increment();
        }
        Mounts.whileReadOnly(
                directory(),
                () -> assertThatThrownBy(this::open)
                        .isInstanceOf(DirectoryUnusableException.class)
                        .hasMessageContainingAll(builderPath(), "cannot be used"));
        try (CounterStore store = open()) {
            assertThat(store.counter("c").value()).isEqualTo(1);
        }
    }
}
