// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.BitSet;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Kills a process under load, again and again, on one real directory. Every add that it reported
 * survives, and no more adds survive than it had begun. Adds with keys are applied exactly once
 * when they are retried.
 *
 * <pre>mvn -pl counter-core test -Dtest=ProcessKillTest -Dcounterset.kills=1000</pre>
 */
class ProcessKillTest {

    private static final int THREADS = 4;

    @TempDir
    Path directory = Path.of("");

    @Test
    void addsReportedByAKilledProcessSurvive() throws Exception {
        int kills = Integer.getInteger("counterset.kills", 8);
        SplittableRandom random = new SplittableRandom(kills);
        long[] begun = new long[THREADS]; // adds to the counter of each thread, over all processes
        long[] reported = new long[THREADS];
        long keysBegun = 0;
        BitSet keysReported = new BitSet();
        long reports = 0;
        for (int kill = 0; kill < kills; kill++) {
            try (ChildJvm child = ChildJvm.start(Load.class, directory.toString(), String.valueOf(keysBegun))) {
                long until = 50L + random.nextInt(3000); // kill it after this many reports
                String line;
                for (long n = 0; (line = child.line()) != null; n++) {
                    String[] words = line.split(" ", -1);
                    switch (words[0]) {
                        case "begin" -> begun[thread(words)] = Math.max(begun[thread(words)], Long.parseLong(words[2]));
                        case "added" ->
                            reported[thread(words)] = Math.max(reported[thread(words)], Long.parseLong(words[2]));
                        case "beginKey" -> keysBegun = Math.max(keysBegun, Long.parseLong(words[1]) + 1);
                        case "addedKey" -> keysReported.set(Integer.parseInt(words[1]));
                        default -> throw new AssertionError(line);
                    }
                    reports++;
                    if (n == until) {
                        child.kill(); // its last reports are still in the pipe, and count
                    }
                }
            }
            try (CounterStore store = CounterStore.open(directory)) {
                assertThat(store.identity().incarnation()).isEqualTo(2L * (kill + 1));
                for (int t = 0; t < THREADS; t++) {
                    long survived = store.counter("thread" + t).value();
                    assertThat(survived).as("thread %d, kill %d", t, kill).isBetween(reported[t], begun[t]);
                    reported[t] = survived;
                }
                Counter keyed = store.counter("keyed");
                assertThat(keyed.value()).isBetween((long) keysReported.cardinality(), keysBegun);
                for (int key = 0; key < keysBegun; key++) { // retry every add, acknowledged or not
                    AddResult result = keyed.addOnce(1, "key" + key);
                    assertThat(result.replayed() || !keysReported.get(key))
                            .as("key %d was acknowledged, but its add is gone", key)
                            .isTrue();
                    keysReported.set(key);
                }
                assertThat(keyed.value()).as("each key once").isEqualTo(keysBegun);
            }
        }
        System.out.printf(
                "  %d kills, %,d reports, %,d adds, %,d keys%n",
                kills, reports, Arrays.stream(reported).sum(), keysBegun);
    }

    private static int thread(String[] words) {
        return Integer.parseInt(words[1]);
    }

    /** Adds from several threads until it is killed; prints a line before and after each add. */
    static final class Load {
        private static final PrintStream OUT =
                new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.US_ASCII);

        public static void main(String[] arguments) {
            CounterStore store = CounterStore.open(Path.of(arguments[0]));
            for (int t = 0; t < THREADS; t++) {
                int thread = t;
                Counter counter = store.counter("thread" + t);
                Thread adder = new Thread(() -> {
                    long total = counter.value();
                    while (true) {
                        print("begin " + thread + " " + (total + 1));
                        total = thread == 0 ? counter.addAsync(1).join() : counter.increment();
                        print("added " + thread + " " + total);
                    }
                });
                adder.start();
            }
            Counter keyed = store.counter("keyed");
            for (long key = Long.parseLong(arguments[1]); ; key++) {
                print("beginKey " + key);
                keyed.addOnce(1, "key" + key);
                print("addedKey " + key);
            }
        }

        private static void print(String line) {
            OUT.println(line); // flushed, so the line is in the pipe before the next add begins
        }
    }
}
