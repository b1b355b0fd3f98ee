// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.WeakHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.ClassVisitor;
import org.objectweb.asm.ClassWriter;
import org.objectweb.asm.MethodVisitor;
import org.objectweb.asm.Opcodes;

/**
 * Runs threads one at a time, in an order that a seed determines. The engine's byte code is
 * rewritten to call {@link #step} before every access to a volatile field, every atomic operation
 * and every call to the disk. Calls that block, wake a thread or read the time go to the schedule
 * instead. At a step that the seed chooses, all threads end where they are, as in a power cut.
 *
 * <p>In threads outside a schedule, the rewritten code behaves as usual.
 */
final class Schedule {

    /** Ends a thread at its current step: the power is off. */
    static final class Cut extends Error {
        private static final long serialVersionUID = 1L;

        Cut() {
            super("the power is off", null, false, false);
        }
    }

    private final class Task {
        final Thread itself; // the thread that the engine sees
        final Semaphore baton = new Semaphore(0);
        boolean permit;
        boolean parked;
        long deadline = Long.MAX_VALUE; // the end of a timed park

        @Nullable
        Object awaits; // a lock, a latch or another task

        boolean done;
        long diesIn; // the number of calls until it runs out of stack; 0 for never

        Task(Thread itself) {
            this.itself = itself;
        }

        Schedule schedule() {
            return Schedule.this;
        }
    }

    private static final int MOST_STEPS = 100_000;

    /** Which thread holds a lock, and how many times. */
    private record Hold(Task owner, int times) {}

    /** The conditions of the engine, with their locks. */
    private static final Map<Condition, ReentrantLock> CONDITIONS = Collections.synchronizedMap(new WeakHashMap<>());

    private static final ThreadLocal<Task> MINE = new ThreadLocal<>();

    private final SplittableRandom random;
    private final int switchEvery; // the average number of steps between two switches of the thread
    private final long cutAt;
    private final Runnable cutPower;
    private final List<Task> tasks = new ArrayList<>();
    private final IdentityHashMap<ReentrantLock, Hold> held = new IdentityHashMap<>();
    private final CountDownLatch over = new CountDownLatch(1);
    private volatile boolean ending;
    private volatile @Nullable Throwable failure;
    private long steps;
    private long nanos = 1;

    private Schedule(SplittableRandom random, long cutAt, Runnable cutPower) {
        this.random = random;
        this.switchEvery = 1 << random.nextInt(6);
        this.cutAt = cutAt;
        this.cutPower = cutPower;
    }

    /**
     * Runs {@code main} and all threads that it starts, until it returns or the power is cut.
     *
     * @return how many steps there were
     */
    static long run(SplittableRandom random, long cutAt, Runnable cutPower, Runnable main) throws Throwable {
        Schedule schedule = new Schedule(random, cutAt, cutPower);
        try {
            Task first = schedule.begin(new Thread(main, "main"), main);
            first.baton.release();
            if (!schedule.over.await(60, TimeUnit.SECONDS)) {
                throw new AssertionError("the schedule is stuck outside its steps");
            }
        } finally {
            schedule.end();
        }
        Throwable failed = schedule.failure;
        if (failed != null) {
            throw failed;
        }
        return schedule.steps;
    }

    private void end() throws InterruptedException {
        ending = true;
        for (Task task : List.copyOf(tasks)) {
            task.baton.release(1000); // the task ends at its next step
        }
    }

    private Task begin(Thread itself, Runnable body) {
        Task task = new Task(itself);
        tasks.add(task);
        itself.setUncaughtExceptionHandler((thread, e) -> {
            if (!(e instanceof Cut)) {
                fail(e);
            }
        });
        Thread carrier = new Thread(
                () -> {
                    MINE.set(task);
                    task.baton.acquireUninterruptibly();
                    try {
                        if (!ending) {
                            body.run();
                        }
                    } catch (Cut cut) {
                        // Ended by the power cut.
                    } catch (Throwable e) {
                        fail(e);
                    } finally {
                        task.done = true;
                        if (task == tasks.get(0) || failure != null) {
                            ending = true;
                            over.countDown();
                        } else if (!ending) {
                            leave(task);
                        }
                    }
                },
                itself.getName());
        carrier.setDaemon(true);
        carrier.start();
        return task;
    }

    private void fail(Throwable e) {
        if (failure == null && !ending) {
            failure = e;
        }
    }

    /** Lets another thread run, because this one has ended. */
    private void leave(Task task) {
        try {
            Task next = choose();
            if (next != task) {
                next.baton.release();
            }
        } catch (Throwable e) {
            fail(e);
            over.countDown();
        }
    }

    // ---- called by the rewritten engine ----

    /** A point where the schedule may switch threads or cut the power. */
    static void step() {
        Task task = MINE.get();
        if (task != null) {
            if (task.diesIn > 0 && --task.diesIn == 0) {
                throw new StackOverflowError("simulated");
            }
            task.schedule().step(task);
        }
    }

    /** A step before an access to a field. It needs no stack, so {@link #dieIn} ignores it. */
    static void access() {
        Task task = MINE.get();
        if (task != null) {
            task.schedule().step(task);
        }
    }

    private void step(Task task) {
        if (ending) {
            throw new Cut();
        }
        steps++;
        if (steps == cutAt) {
            cutPower.run();
            ending = true;
            over.countDown();
            throw new Cut();
        }
        if (steps > MOST_STEPS) {
            throw new AssertionError("no end after " + steps + " steps");
        }
        if (!canRun(task) || random.nextInt(switchEvery) == 0) {
            handOver(task);
        }
    }

    /**
     * Makes the calling thread run out of stack once, at its n-th call of {@link #step} from here;
     * 0 for never.
     */
    static void dieIn(long n) {
        Task task = MINE.get();
        if (task != null) {
            task.diesIn = n;
        }
    }

    /** Lets time pass, as an operation of a slow disk does. */
    static void advance(long nanos) {
        Task task = MINE.get();
        if (task != null) {
            task.schedule().nanos += nanos;
        }
    }

    private void handOver(Task task) {
        Task next = choose();
        if (next != task) {
            next.baton.release();
            task.baton.acquireUninterruptibly();
            if (ending) {
                throw new Cut();
            }
        }
    }

    private boolean canRun(Task task) {
        Object awaited = task.awaits;
        return !task.done
                && (!task.parked || task.permit)
                && (awaited == null
                        || (awaited instanceof ReentrantLock lock && !held.containsKey(lock))
                        || (awaited instanceof CountDownLatch latch && latch.getCount() == 0)
                        || (awaited instanceof Task other && other.done));
    }

    private Task choose() {
        List<Task> able = new ArrayList<>();
        Task sleeper = null;
        for (Task task : tasks) {
            if (canRun(task)) {
                able.add(task);
            } else if (!task.done && task.parked && (sleeper == null || task.deadline < sleeper.deadline)) {
                sleeper = task;
            }
        }
        if (sleeper != null
                && sleeper.deadline != Long.MAX_VALUE
                && (able.isEmpty() || random.nextInt(20) == 0)) { // its deadline has passed
            nanos = Math.max(nanos, sleeper.deadline);
            sleeper.permit = true;
            return sleeper;
        }
        if (able.isEmpty()) {
            StringBuilder message = new StringBuilder("no thread can run:");
            for (Task task : tasks) {
                if (!task.done) {
                    message.append(' ').append(task.itself.getName()).append(task.parked ? " is parked" : " waits");
                }
            }
            throw new AssertionError(message.toString());
        }
        return able.get(random.nextInt(able.size()));
    }

    static Thread currentThread() {
        Task task = MINE.get();
        return task == null ? Thread.currentThread() : task.itself;
    }

    static void start(Thread thread) {
        Task task = MINE.get();
        if (task == null) {
            thread.start();
        } else {
            task.schedule().begin(thread, thread);
            step();
        }
    }

    static void park(Object blocker) {
        parkUntil(blocker, Long.MAX_VALUE);
    }

    static void parkNanos(Object blocker, long nanos) {
        Task task = MINE.get();
        parkUntil(blocker, task == null ? System.nanoTime() + nanos : task.schedule().nanos + nanos);
    }

    static void parkNanos(long nanos) {
        parkNanos(Schedule.class, nanos);
    }

    private static void parkUntil(Object blocker, long deadline) {
        Task task = MINE.get();
        if (task == null) {
            LockSupport.parkNanos(blocker, 1_000_000); // may be spurious
            return;
        }
        task.parked = true;
        task.deadline = deadline;
        task.schedule().step(task);
        task.parked = false;
        task.permit = false;
        task.deadline = Long.MAX_VALUE;
    }

    static void unpark(@Nullable Thread thread) {
        Task mine = MINE.get();
        if (mine == null) {
            LockSupport.unpark(thread);
            return;
        }
        step();
        for (Task task : mine.schedule().tasks) {
            if (task.itself.equals(thread)) {
                task.permit = true;
            }
        }
    }

    private static boolean await(Object what) {
        Task task = MINE.get();
        if (task == null) {
            return false;
        }
        task.awaits = what;
        task.schedule().step(task);
        task.awaits = null;
        return true;
    }

    static void lock(ReentrantLock lock) {
        Task task = MINE.get();
        if (task == null) {
            lock.lock();
        } else {
            IdentityHashMap<ReentrantLock, Hold> held = task.schedule().held;
            Hold hold = held.get(lock);
            if (hold == null || hold.owner() != task) {
                await((Object) lock);
                hold = new Hold(task, 0);
            }
            held.put(lock, new Hold(task, hold.times() + 1));
        }
    }

    static void unlock(ReentrantLock lock) {
        Task task = MINE.get();
        if (task == null) {
            lock.unlock();
        } else {
            task.schedule()
                    .held
                    .computeIfPresent(lock, (l, hold) -> hold.times() == 1 ? null : new Hold(task, hold.times() - 1));
            step();
        }
    }

    static Condition newCondition(ReentrantLock lock) {
        Condition condition = lock.newCondition();
        CONDITIONS.put(condition, lock);
        return condition;
    }

    @SuppressWarnings("WaitNotInLoop") // the loop is in the engine
    static void awaitUninterruptibly(Condition condition) {
        Task task = MINE.get();
        if (task == null) {
            condition.awaitUninterruptibly();
            return;
        }
        ReentrantLock lock = Objects.requireNonNull(CONDITIONS.get(condition));
        Hold hold = Objects.requireNonNull(task.schedule().held.remove(lock));
        await((Object) condition);
        task.schedule().held.put(lock, hold);
    }

    static void signalAll(Condition condition) {
        Task mine = MINE.get();
        if (mine == null) {
            condition.signalAll();
            return;
        }
        for (Task task : mine.schedule().tasks) {
            if (condition.equals(task.awaits)) {
                task.awaits = CONDITIONS.get(condition);
            }
        }
    }

    static void await(CountDownLatch latch) throws InterruptedException {
        if (!await((Object) latch)) {
            latch.await();
        }
    }

    static boolean isAlive(Thread thread) {
        Task mine = MINE.get();
        if (mine == null) {
            return thread.isAlive();
        }
        step();
        return mine.schedule().tasks.stream().anyMatch(task -> task.itself.equals(thread) && !task.done);
    }

    static void join(Thread thread) throws InterruptedException {
        Task mine = MINE.get();
        if (mine == null) {
            thread.join();
            return;
        }
        for (Task task : List.copyOf(mine.schedule().tasks)) {
            if (task.itself.equals(thread)) {
                await((Object) task);
            }
        }
    }

    static long nanoTime() {
        Task task = MINE.get();
        return task == null ? System.nanoTime() : ++task.schedule().nanos;
    }

    // ---- rewriting byte code ----

    private static final String ITSELF = "io/counterset/Schedule";

    /** Returns the byte code with steps added if it is of an engine class, otherwise unchanged. */
    static byte[] rewrite(byte[] code) {
        ClassReader reader = new ClassReader(code);
        String name = reader.getClassName();
        if (!name.matches(
                "io/counterset/(GroupCommit|Pending|Completions|Counter|Ledger|Commit|Room|Housekeeper|Journal"
                        + "|CounterStore|Batch)(\\$.*)?")) {
            return code;
        }
        ClassWriter writer = new ClassWriter(0);
        reader.accept(
                new ClassVisitor(Opcodes.ASM9, writer) {
                    @Override
                    public MethodVisitor visitMethod(
                            int access,
                            String method,
                            String type,
                            @Nullable String signature,
                            String @Nullable [] thrown) {
                        return new Steps(super.visitMethod(access, method, type, signature, thrown));
                    }
                },
                0);
        return writer.toByteArray();
    }

    private static final class Steps extends MethodVisitor {
        Steps(MethodVisitor next) {
            super(Opcodes.ASM9, next);
        }

        private void call(String method) {
            super.visitMethodInsn(Opcodes.INVOKESTATIC, ITSELF, method, "()V", false);
        }

        @Override
        public void visitFieldInsn(int opcode, String owner, String name, String type) {
            if (owner.startsWith("io/counterset/") && isVolatile(owner, name)) {
                call("access");
            }
            super.visitFieldInsn(opcode, owner, name, type);
        }

        private static boolean isVolatile(String owner, String name) {
            try {
                return java.lang.reflect.Modifier.isVolatile(
                        Class.forName(owner.replace('/', '.'), false, Schedule.class.getClassLoader())
                                .getDeclaredField(name)
                                .getModifiers());
            } catch (ReflectiveOperationException e) {
                return false; // a field of a superclass in the JDK
            }
        }

        @Override
        public void visitMethodInsn(int opcode, String owner, String name, String type, boolean isInterface) {
            String call = owner.substring(owner.lastIndexOf('/') + 1) + "." + name;
            switch (call) {
                case "LockSupport.park", "LockSupport.parkNanos", "LockSupport.unpark" ->
                    super.visitMethodInsn(Opcodes.INVOKESTATIC, ITSELF, name, type, false);
                case "Thread.yield", "Thread.onSpinWait" -> call("step");
                case "Thread.currentThread", "System.nanoTime" ->
                    super.visitMethodInsn(Opcodes.INVOKESTATIC, ITSELF, name, type, false);
                case "Thread.start", "Thread.isAlive", "Thread.join" ->
                    super.visitMethodInsn(
                            Opcodes.INVOKESTATIC, ITSELF, name, type.replace("(", "(Ljava/lang/Thread;"), false);
                case "ReentrantLock.lock",
                        "ReentrantLock.unlock",
                        "ReentrantLock.newCondition",
                        "Condition.awaitUninterruptibly",
                        "Condition.signalAll",
                        "CountDownLatch.await" ->
                    super.visitMethodInsn(
                            Opcodes.INVOKESTATIC, ITSELF, name, type.replace("(", "(L" + owner + ";"), false);
                default -> {
                    if (owner.equals("java/lang/invoke/VarHandle") || owner.startsWith("io/counterset/Storage")) {
                        call("step");
                    }
                    super.visitMethodInsn(opcode, owner, name, type, isInterface);
                }
            }
        }
    }
}
