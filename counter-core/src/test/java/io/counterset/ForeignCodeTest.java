// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;
import static org.awaitility.Awaitility.await;

import io.counterset.BehaviourKit.Gate;
import io.counterset.CounterStoreException.OutcomeUnknownException;
import io.counterset.CounterStoreException.StoreClosedException;
import io.counterset.CounterStoreException.StoreFailedException;
import io.counterset.SimulatedDisk.Fault;
import io.counterset.SimulatedDisk.Tears;
import java.io.IOException;
import java.lang.ref.WeakReference;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Named;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The store runs foreign code: executors, dependent actions of futures, and the failure listener.
 * Whatever this code does, no caller waits indefinitely.
 */
class ForeignCodeTest {

    private static final int SECONDS = 60; // after this, a hang fails the test

    private final SimulatedDisk disk = new SimulatedDisk(options -> 0, Tears.THREE_WAYS);
    private final Gate gate = new Gate(disk.mount());
    private final ExecutorService threads = Executors.newCachedThreadPool(task -> {
        Thread thread = new Thread(task);
        thread.setDaemon(true);
        return thread;
    });

    @AfterEach
    void endThreads() {
        threads.shutdownNow();
    }

    private CounterStore.Builder builder() {
        return CounterStore.builder(Path.of("simulated")).storage(gate);
    }

    private static <T> T within(Future<T> future) throws Exception {
        return future.get(SECONDS, TimeUnit.SECONDS);
    }

    private static Throwable failureOf(Future<?> future) {
        return requireNonNull(catchThrowable(() -> within(future)).getCause());
    }

    // ---- executors ----

    private static Named<Executor> executor(String name, Executor executor) {
        return Named.of(name, executor);
    }

    static Stream<Named<Executor>> misbehavingExecutors() {
        return Stream.of(
                executor("rejects", task -> {
                    throw new RejectedExecutionException("closed");
                }),
                executor("throws", task -> {
                    throw new IllegalStateException("the event loop has shut down");
                }),
                executor("cannot start a thread", task -> {
                    throw new OutOfMemoryError("unable to create native thread");
                }),
                executor("runs the task and then throws", task -> {
                    task.run();
                    throw new StackOverflowError();
                }),
                executor("runs the task twice", task -> {
                    task.run();
                    task.run();
                }));
    }

    @ParameterizedTest
    @MethodSource("misbehavingExecutors")
    void theStoreSurvivesAMisbehavingExecutor(Executor executor) throws Exception {
        CounterStore store =
                builder().completionExecutor(executor).maxPending(3).open();
        Counter counter = store.counter("c");
        for (int i = 1; i <= 20; i++) {
            assertThat(within(counter.addAsync(1))).isEqualTo(i);
        }
        assertThat(within(threads.submit(counter::increment))).isEqualTo(21);
        within(threads.submit(store::flush));
        assertThat(store.isAccepting()).isTrue();
        assertThat(store.statistics().pending()).isZero();
        within(threads.submit(store::close));
    }

    @Test
    void closingCompletesFuturesThatTheExecutorDropped() throws Exception {
        CounterStore store = builder().completionExecutor(task -> {}).open();
        Counter counter = store.counter("c");
        CompletableFuture<Long> dropped = counter.addAsync(1);
        assertThat(within(threads.submit(counter::increment))).isEqualTo(2);
        within(threads.submit(store::close));
        assertThat(dropped).isCompletedWithValue(1L);
    }

    @Test
    void theCompleterThreadStartsWithTheStore() throws Exception {
        Stream<Thread> before = Thread.getAllStackTraces().keySet().stream();
        List<Thread> known = before.toList();
        try (CounterStore store = builder().open()) {
            assertThat(Thread.getAllStackTraces().keySet())
                    .filteredOn(thread -> !known.contains(thread))
                    .extracting(Thread::getName)
                    .contains("counterset-completer", "counterset-committer");
            assertThat(within(store.counter("c").addAsync(1))).isEqualTo(1);
        }
    }

    // ---- a system that refuses new threads ----

    @Test
    void aStoreNeedsNoFurtherThreadOnceItIsOpen(@TempDir Path folder) throws Exception {
        try (ChildJvm child = ChildJvm.startWith("-Xss64m", WithoutThreads.class, folder.toString())) {
            String line = String.valueOf(child.line());
            Assumptions.assumeFalse(line.equals("no prlimit"), "there is no prlimit here");
            assertThat(line).isEqualTo("no thread can start");
            assertThat(child.line()).isEqualTo("added 1");
            assertThat(child.line()).isEqualTo("added 2");
            assertThat(child.line()).isEqualTo("opening another ends with an OutOfMemoryError");
            assertThat(child.line()).isEqualTo("opened it when threads could start again");
            assertThat(child.line()).isEqualTo("closed");
            assertThat(child.exitValue(SECONDS)).isZero();
        }
    }

    /** Makes the system refuse new threads: their stacks exceed the address space that is left. */
    static final class WithoutThreads {
        public static void main(String[] folder) throws Exception {
            CounterStore store = CounterStore.open(Path.of(folder[0], "one"));
            CounterStore.Builder another = CounterStore.builder(Path.of(folder[0], "another"));
            another.open().close(); // so that all classes are loaded
            if (!limit(Files.readAllLines(Path.of("/proc/self/status")).stream()
                    .filter(line -> line.startsWith("VmSize:"))
                    .mapToLong(line -> Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024 + (32 << 20))
                    .mapToObj(Long::toString)
                    .findFirst()
                    .orElseThrow())) {
                System.out.println("no prlimit");
                return;
            }
            try {
                for (int i = 0; i < 50; i++) { // the stacks of a few threads that have ended may be reused
                    Thread thread = new Thread(() -> new CompletableFuture<Void>().join());
                    thread.setDaemon(true);
                    thread.start();
                }
            } catch (OutOfMemoryError e) {
                System.out.println("no thread can start");
            }
            Counter counter = store.counter("c");
            System.out.println("added " + counter.addAsync(1).get(SECONDS, TimeUnit.SECONDS));
            System.out.println("added " + counter.increment());
            try {
                another.open().close();
            } catch (OutOfMemoryError e) {
                System.out.println("opening another ends with an OutOfMemoryError");
            }
            limit("unlimited");
            another.open().close();
            System.out.println("opened it when threads could start again");
            store.close();
            System.out.println("closed");
        }

        private static boolean limit(String addressSpace) throws InterruptedException {
            try {
                return new ProcessBuilder(
                                        "prlimit",
                                        "--pid",
                                        String.valueOf(ProcessHandle.current().pid()),
                                        "--as=" + addressSpace + ":")
                                .inheritIO()
                                .start()
                                .waitFor()
                        == 0;
            } catch (IOException e) {
                return false;
            }
        }
    }

    // ---- a device that is stuck ----

    @Test
    void aStuckDeviceIsReportedAcknowledgesNothingAndDelaysClosing() throws Exception {
        CounterStore store = builder().open();
        Counter counter = store.counter("c");
        assertThat(counter.increment()).isEqualTo(1);
        assertThat(store.statistics().commitUnderWay()).isZero();
        long commits = store.statistics().commits();
        gate.hold();
        Future<Long> leader = threads.submit(counter::increment);
        await().until(() -> gate.waiting() == 1);
        Future<Long> follower = threads.submit(counter::increment);
        CompletableFuture<Long> future = counter.addAsync(1);
        Future<?> flush = threads.submit(store::flush);
        await().until(() -> store.statistics().pending() == 3);
        await().until(() -> store.statistics().commitUnderWay().toMillis() > 100);
        Future<?> closing = threads.submit(store::close);
        await().until(() -> !store.isAccepting());
        assertThat(failureOf(counter.addAsync(1))).isInstanceOf(StoreClosedException.class);
        assertThat(counter.value()).isEqualTo(1);
        assertThat(store.snapshot()).containsEntry("c", 1L);
        assertThat(store.statistics().commits()).isEqualTo(commits);
        assertThat(List.of(leader, follower, future, flush, closing)).noneMatch(Future::isDone);
        gate.letGo();
        assertThat(List.of(within(leader), within(follower), within(future))).containsExactlyInAnyOrder(2L, 3L, 4L);
        within(flush);
        within(closing);
        assertThat(store.statistics().commitUnderWay()).isZero();
        assertThat(counter.value()).isEqualTo(4);
    }

    @Test
    void aStuckDeviceThatThenFailsLeavesEveryOutcomeUnknown() throws Exception {
        CounterStore store = builder().open();
        Counter counter = store.counter("c");
        gate.hold();
        Future<Long> leader = threads.submit(counter::increment);
        await().until(() -> gate.waiting() == 1);
        CompletableFuture<Long> future = counter.addAsync(1);
        Future<?> closing = threads.submit(store::close);
        gate.fail();
        assertThat(failureOf(leader)).isInstanceOf(OutcomeUnknownException.class);
        assertThat(failureOf(future)).isInstanceOf(OutcomeUnknownException.class);
        within(closing);
    }

    // ---- dependent actions ----

    @Test
    void aStuckDependentActionDelaysNeitherClosingNorOtherFutures() throws Exception {
        CountDownLatch never = new CountDownLatch(1);
        for (boolean direct : new boolean[] {false, true}) {
            Gate held = new Gate(disk.mount());
            CounterStore.Builder builder = builder().storage(held);
            CounterStore store =
                    direct ? builder.completionExecutor(Runnable::run).open() : builder.open();
            Counter counter = store.counter("c");
            CountDownLatch stuck = new CountDownLatch(1);
            held.hold(); // otherwise the future could already be complete, and this thread would run the action
            var unused = counter.addAsync(1).thenRun(() -> {
                stuck.countDown();
                try {
                    never.await();
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
            });
            held.letGo();
            assertThat(stuck.await(SECONDS, TimeUnit.SECONDS)).isTrue();
            List<CompletableFuture<Long>> others = new ArrayList<>();
            for (int i = 0; i < 10; i++) {
                others.add(counter.addAsync(1));
            }
            within(threads.submit(store::close));
            assertThat(others).allSatisfy(other -> assertThat(other).isCompleted());
            assertThat(counter.addAsync(1)).isCompletedExceptionally();
        }
        never.countDown();
    }

    @Test
    void aFutureKeepsNoOtherFutureReachable() throws Exception {
        try (CounterStore store = builder().open()) {
            Counter counter = store.counter("c");
            gate.hold();
            Future<Long> leader = threads.submit(counter::increment);
            await().until(() -> gate.waiting() == 1);
            List<CompletableFuture<Long>> kept = new ArrayList<>();
            List<WeakReference<CompletableFuture<Long>>> others = new ArrayList<>();
            for (int i = 0; i < 100; i++) { // one group
                CompletableFuture<Long> future = counter.addAsync(1);
                if (i % 33 == 0) {
                    kept.add(future);
                } else {
                    others.add(new WeakReference<>(future));
                }
            }
            gate.letGo();
            within(leader);
            for (CompletableFuture<Long> future : kept) {
                within(future);
            }
            await().until(() -> {
                System.gc();
                return others.stream().allMatch(other -> other.refersTo(null));
            });
            assertThat(kept).hasSize(4).allSatisfy(future -> assertThat(future).isCompleted());
        }
    }

    // ---- the failure listener ----

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void allCallersAreReleasedIfTheListenerThrowsAnError(boolean blocking) throws Exception {
        AtomicInteger calls = new AtomicInteger();
        CounterStore store = builder()
                .onFailure(failure -> {
                    calls.incrementAndGet();
                    throw new NoClassDefFoundError("the logger's");
                })
                .open();
        Counter counter = store.counter("c");
        gate.fail();
        Future<Long> failing = blocking ? threads.submit(counter::increment) : counter.addAsync(1);
        assertThat(failureOf(failing)).isInstanceOf(OutcomeUnknownException.class);
        assertThat(store.isAccepting()).isFalse();
        assertThat(failureOf(threads.submit(counter::increment))).isInstanceOf(StoreFailedException.class);
        assertThat(failureOf(counter.addAsync(1))).isInstanceOf(StoreFailedException.class);
        assertThat(failureOf(threads.submit(store::flush))).isInstanceOf(OutcomeUnknownException.class);
        await().until(() -> calls.get() == 1);
        await().untilAsserted(() -> assertThat(store.failure().orElseThrow().getSuppressed())
                .hasAtLeastOneElementOfType(NoClassDefFoundError.class));
        within(threads.submit(store::close));
        assertThat(calls).hasValue(1);
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void theStoreClosesWhileTheListenerIsStuck(boolean blocking) throws Exception {
        CountDownLatch never = new CountDownLatch(1);
        CountDownLatch stuck = new CountDownLatch(1);
        CounterStore store = builder()
                .onFailure(failure -> {
                    stuck.countDown();
                    try {
                        never.await();
                    } catch (InterruptedException e) {
                        Thread.currentThread().interrupt();
                    }
                })
                .open();
        Counter counter = store.counter("c");
        gate.fail();
        Future<Long> failing = blocking ? threads.submit(counter::increment) : counter.addAsync(1);
        assertThat(failureOf(failing)).isInstanceOf(OutcomeUnknownException.class);
        assertThat(stuck.await(SECONDS, TimeUnit.SECONDS)).isTrue();
        within(threads.submit(store::close));
        never.countDown();
    }

    @Test
    void theListenerMayCloseTheStore() throws Exception {
        CompletableFuture<CounterStore> opened = new CompletableFuture<>();
        CountDownLatch closed = new CountDownLatch(1);
        CounterStore store = builder()
                .onFailure(failure -> {
                    opened.join().close();
                    closed.countDown();
                })
                .open();
        opened.complete(store);
        gate.fail();
        assertThat(failureOf(store.counter("c").addAsync(1))).isInstanceOf(OutcomeUnknownException.class);
        assertThat(closed.await(SECONDS, TimeUnit.SECONDS)).isTrue();
    }

    @ParameterizedTest
    @ValueSource(strings = {"listener blocking", "listener async", "dependent async"})
    void theJvmExitsWhileAShutdownHookClosesTheStore(String how) throws Exception {
        try (ChildJvm child = ChildJvm.start(Exiting.class, how.split(" "))) {
            assertThat(child.line()).isEqualTo("failing");
            assertThat(child.line()).isEqualTo("closed");
            assertThat(child.exitValue(SECONDS)).isEqualTo(3);
        }
    }

    /** Ends the JVM from a thread of the store, and closes the store in a shutdown hook. */
    static final class Exiting {
        public static void main(String[] how) throws IOException {
            SimulatedDisk disk = new SimulatedDisk(options -> 0, Tears.THREE_WAYS);
            boolean listening = how[0].equals("listener");
            CounterStore store = CounterStore.builder(Path.of("simulated"))
                    .storage(disk.mount())
                    .onFailure(failure -> {
                        if (listening) {
                            System.exit(3);
                        }
                    })
                    .open();
            Counter counter = store.counter("c");
            Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                store.close();
                System.out.println("closed");
            }));
            System.out.println("failing");
            disk.faults((step, operation, file) -> Fault.FAILURE);
            if (how[1].equals("blocking")) {
                assertThatThrownBy(counter::increment)
                        .isInstanceOfAny(OutcomeUnknownException.class, StoreClosedException.class);
            } else {
                var unused = counter.addAsync(1).whenComplete((total, failure) -> {
                    if (!listening) {
                        System.exit(3);
                    }
                });
            }
            new CompletableFuture<Void>().join(); // blocks until the JVM ends
        }
    }
}
