// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.counterset.k8s.PeersReport.Peer;
import io.counterset.k8s.PeersReport.State;
import io.counterset.k8s.Restoration.Outcome;
import io.counterset.k8s.Restoration.Result;
import io.counterset.k8s.Restoration.Step;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Real replicas that lose their volumes and restore the counts that their peers remember. */
class RestorationTest {

    @TempDir
    Path folder;

    private final LoopbackPeer[] replicas = new LoopbackPeer[3];
    private final Peers[] peers = new Peers[3];
    private LoopbackPeer loser;

    @BeforeEach
    void threeReplicas() throws IOException {
        for (int i = 0; i < 3; i++) {
            replicas[i] = new LoopbackPeer("app-" + i, "127.0.0." + (i + 1), folder.resolve("" + i));
        }
        for (int i = 0; i < 3; i++) {
            open(i);
        }
        loser = replicas[2];
        loser.add(100);
        ask(0);
        ask(1);
    }

    @AfterEach
    void closeAll() {
        for (int i = 0; i < 3; i++) {
            peers[i].close();
            replicas[i].close();
        }
    }

    private void open(int i) {
        peers[i] = TestSettings.list(replicas[0].address(), replicas[1].address(), replicas[2].address())
                .in(replicas[i].directory)
                .open(replicas[i].replica());
        replicas[i].hearWith(peers[i]);
    }

    private PeersReport ask(int i) {
        return DocumentedReasons.documented(
                peers[i].report().toCompletableFuture().join());
    }

    private Peer loserSeenBy(int i) {
        return ask(i).peers().get(2);
    }

    private Step restore(int from, boolean dryRun, boolean force) {
        Result result = peers[2].restore(replicas[from].address(), dryRun, force)
                .toCompletableFuture()
                .join();
        assertThat(result.failures()).isEmpty();
        assertThat(result.steps()).hasSize(1);
        return result.steps().get(0);
    }

    private Step restore(int from) {
        return restore(from, false, false);
    }

    private long count() {
        return loser.store().counter("visits").value();
    }

    private void stop() {
        peers[2].close();
        loser.stop();
    }

    private void start() {
        loser.start();
        open(2);
    }

    private void replaceVolume() throws IOException {
        stop();
        LostVolumesTest.delete(loser.directory);
        start();
    }

    @Test
    void restoresAReplacedVolumeExactlyOnceFromAnyPeer() throws IOException {
        loser.add(7);
        ask(0); // app-0 has seen 107, app-1 has seen 100
        replaceVolume();
        loser.add(2);
        assertThat(loserSeenBy(0).state()).isEqualTo(State.REPLACED);
        assertThat(loserSeenBy(1).state()).isEqualTo(State.REPLACED);

        assertThat(restore(1, true, false))
                .extracting(Step::outcome, Step::amount, Step::count)
                .containsExactly(Outcome.WOULD_RESTORE, 100L, 102L);
        assertThat(count()).as("a dry run changes nothing").isEqualTo(2);

        assertThat(restore(1))
                .extracting(Step::outcome, Step::amount, Step::count)
                .containsExactly(Outcome.RESTORED, 100L, 102L);
        assertThat(loserSeenBy(1).state()).isEqualTo(State.RESTORED);
        assertThat(loserSeenBy(0)).extracting(Peer::state, Peer::lost).containsExactly(State.REPLACED, 7L);
        assertThat(restore(0))
                .extracting(Step::outcome, Step::amount, Step::count)
                .containsExactly(Outcome.RESTORED, 7L, 109L);

        for (int from = 0; from < 2; from++) {
            assertThat(restore(from).outcome()).isEqualTo(Outcome.ALREADY_RESTORED);
            assertThat(loserSeenBy(from)).extracting(Peer::state, Peer::lost).containsExactly(State.RESTORED, null);
            assertThat(ask(from))
                    .extracting(PeersReport::total, PeersReport::lost, PeersReport::complete)
                    .containsExactly(109L, 0L, true);
        }
        stop();
        start();
        assertThat(restore(0).outcome()).as("after a restart").isEqualTo(Outcome.ALREADY_RESTORED);
        assertThat(count()).isEqualTo(109);
        assertThat(loserSeenBy(0).state()).isEqualTo(State.RESTORED);
    }

    @Test
    void asksAllPeersAndTakesTheLargestLoss() throws IOException {
        loser.add(7);
        ask(1);
        replaceVolume();
        ask(0);
        ask(1);

        Result result =
                peers[2].restore(null, false, false).toCompletableFuture().join();

        assertThat(result.steps())
                .extracting(Step::outcome, Step::amount)
                .containsExactly(org.assertj.core.groups.Tuple.tuple(Outcome.RESTORED, 107L));
        assertThat(result.toText()).startsWith("restored: visits 107 of store ").endsWith("; app-2 counts 107\n");
    }

    @Test
    void restoresAVolumeThatIsRolledBackTwice() throws IOException {
        stop();
        LostVolumesTest.copy(loser.directory, folder.resolve("backup"));
        start();
        loser.add(11);
        ask(0);
        for (int i = 0; i < 2; i++) {
            stop();
            LostVolumesTest.copy(folder.resolve("backup"), loser.directory);
            start();
            assertThat(loserSeenBy(0)).extracting(Peer::state, Peer::lost).containsExactly(State.ROLLED_BACK, 11L);
            assertThat(restore(0))
                    .extracting(Step::outcome, Step::amount, Step::count)
                    .containsExactly(Outcome.RESTORED, 11L, 111L);
            assertThat(loserSeenBy(0)).extracting(Peer::state, Peer::lost).containsExactly(State.RESTORED, null);
        }
    }

    /** Replaces the store by one that is imported from an export, without the other files. */
    private void importFrom(byte[] export) throws Exception {
        stop();
        Path before = folder.resolve("before " + UUID.randomUUID());
        Files.move(loser.directory, before);
        assertThat(tool(export, "import")).isEmpty();
        start();
    }

    private byte[] export() throws Exception {
        return tool(new byte[0], "export");
    }

    /** Runs a command of the library's jar on the loser's store. */
    private byte[] tool(byte[] input, String command) throws Exception {
        Path in = Files.write(folder.resolve("in"), input);
        Path out = folder.resolve("out");
        Process process = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        "io.counterset.CommandLine",
                        command,
                        loser.directory.toString())
                .redirectInput(in.toFile())
                .redirectOutput(out.toFile())
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(process.exitValue()).isZero();
        return Files.readAllBytes(out);
    }

    @Test
    void restoresNothingTwiceInAnImportedStoreWithoutItsRecord() throws Exception {
        loser.add(7);
        ask(0); // app-0 has seen 107, app-1 has seen 100
        replaceVolume();
        ask(0);
        ask(1);
        assertThat(restore(1).outcome()).isEqualTo(Outcome.RESTORED);
        byte[] export = export(); // has the 100 that were restored, but not the record of them
        Path record = Files.copy(loser.directory.resolve("counters.restored"), folder.resolve("record"));

        importFrom(export);
        ask(0);
        ask(1);

        for (int from = 0; from < 2; from++) {
            assertThat(restore(from, true, false).outcome()).isEqualTo(Outcome.REFUSED);
            assertThat(restore(from))
                    .extracting(Step::outcome, Step::reason)
                    .containsExactly(
                            Outcome.REFUSED,
                            "it may have been restored before, since the record of that is missing; put"
                                    + " counters.restored back and restart this replica; if it was not, force adds it");
        }
        assertThat(count()).isEqualTo(100);

        stop();
        Files.copy(record, loser.directory.resolve("counters.restored"), StandardCopyOption.REPLACE_EXISTING);
        start();
        assertThat(restore(1).outcome()).isEqualTo(Outcome.ALREADY_RESTORED);
        assertThat(restore(0))
                .extracting(Step::outcome, Step::amount, Step::count)
                .containsExactly(Outcome.RESTORED, 7L, 107L);
        assertThat(loserSeenBy(0)).extracting(Peer::state, Peer::lost).containsExactly(State.RESTORED, null);
    }

    @Test
    void restoresWhatAnExportLacksThoughTheRecordIsNewer() throws Exception {
        loser.add(7);
        ask(0); // app-0 has seen 107, app-1 has seen 100
        replaceVolume();
        loser.add(2);
        ask(0);
        ask(1);
        byte[] untouched = export();
        restore(1);
        byte[] partly = export();
        restore(0);
        ask(0);
        for (byte[] export : List.of(partly, untouched)) {
            Path record = loser.directory.resolve("counters.restored");
            byte[] newer = Files.readAllBytes(record);
            importFrom(export);
            stop();
            Files.write(record, newer);
            start();
            ask(0);

            assertThat(restore(0).outcome()).isEqualTo(Outcome.RESTORED);
            assertThat(count()).isEqualTo(109);
            assertThat(loserSeenBy(0)).extracting(Peer::state, Peer::lost).containsExactly(State.RESTORED, null);
        }
    }

    @Test
    void asksForForceOnceForEachLossIfTheRecordIsMissingOrDamaged() throws Exception {
        replaceVolume();
        ask(0);
        stop();
        Files.writeString(loser.directory.resolve("counters.restored"), "damaged");
        start();
        ask(0);

        assertThat(restore(0).outcome()).isEqualTo(Outcome.REFUSED);
        assertThat(restore(0, false, true))
                .extracting(Step::outcome, Step::count)
                .containsExactly(Outcome.RESTORED, 100L);
        assertThat(restore(0, false, true).outcome()).isEqualTo(Outcome.ALREADY_RESTORED);
        assertThat(count()).isEqualTo(100);

        stop();
        LostVolumesTest.copy(loser.directory, folder.resolve("backup"));
        start();
        loser.add(11);
        ask(0);
        stop();
        LostVolumesTest.copy(folder.resolve("backup"), loser.directory);
        start();
        ask(0);
        assertThat(peers[2].restore(replicas[0].address(), false, false)
                        .toCompletableFuture()
                        .join()
                        .steps())
                .as("another loss, of which the record says nothing either")
                .extracting(Step::outcome)
                .containsExactlyInAnyOrder(Outcome.ALREADY_RESTORED, Outcome.REFUSED);
        assertThat(count()).isEqualTo(100);
    }

    @Test
    void refusesIfTheLocalCountIsHigherUnlessForced() throws IOException {
        replaceVolume();
        loser.add(150);
        ask(0);

        assertThat(restore(0).outcome()).isEqualTo(Outcome.REFUSED);
        assertThat(restore(0).reason()).startsWith("this replica counted 150 itself, and 100 had been counted");
        assertThat(count()).isEqualTo(150);
        assertThat(restore(0, false, true).outcome()).isEqualTo(Outcome.RESTORED);
        assertThat(count()).isEqualTo(250);
        assertThat(restore(0, false, true).outcome()).isEqualTo(Outcome.ALREADY_RESTORED);
    }

    @Test
    void asksOnlyListedPeersThatHaveSeenTheNewStore() throws IOException {
        replaceVolume();

        assertThat(peers[2].restore(replicas[0].address(), false, false)
                        .toCompletableFuture()
                        .join()
                        .failures())
                .singleElement()
                .asString()
                .isEqualTo(replicas[0].address() + ": app-0 has not yet seen the store that app-2 has now; ask it for"
                        + " /peers, then try again");
        assertThatThrownBy(() -> peers[2].restore("127.0.0.9:80", false, false)
                        .toCompletableFuture()
                        .join())
                .hasRootCauseInstanceOf(IllegalArgumentException.class)
                .hasRootCauseMessage(
                        "'127.0.0.9:80' is not a listed peer; expected an instance or an address of /peers");
        assertThat(count()).isZero();
    }

    @Test
    void findsAPeerByNameBeforeItHasAskedAnyPeer() throws IOException {
        replaceVolume();
        ask(0);
        ask(1);

        Result result =
                peers[2].restore("app-1", false, false).toCompletableFuture().join();
        assertThat(result.failures()).isEmpty();
        assertThat(result.steps())
                .extracting(Step::outcome, Step::amount)
                .containsExactly(org.assertj.core.groups.Tuple.tuple(Outcome.RESTORED, 100L));
        assertThatThrownBy(() -> peers[2].restore("app-7", false, false)
                        .toCompletableFuture()
                        .join())
                .hasRootCauseMessage("'app-7' is not a listed peer; expected an instance or an address of /peers");

        replicas[0].stop();
        assertThat(peers[2].restore("app-1", false, false)
                        .toCompletableFuture()
                        .join()
                        .failures())
                .isEmpty();
        assertThat(peers[2].restore("app-0", false, false)
                        .toCompletableFuture()
                        .join()
                        .failures())
                .singleElement()
                .asString()
                .startsWith(replicas[0].address() + ": ");
        replicas[0].start();
    }

    @Test
    void addsPendingAmountsOnceAfterACrash() throws IOException {
        UUID lost = UUID.randomUUID();
        UUID own = loser.store().identity().id();
        Instant now = Instant.now();
        CheckedFile<Restoration.Given> file = new CheckedFile<>(
                loser.directory,
                "counters.restored",
                "counterset-restored 1",
                Restoration.Given.class,
                LoopbackPeer.JSON);
        Restoration.Amount pending = new Restoration.Amount(lost, "visits", 40, 40, now, 0);

        file.write(new Restoration.Given(own, false, List.of(pending))); // before the add
        var unused = new Restoration(loser.replica(), loser.directory, LoopbackPeer.JSON, now);
        assertThat(count()).isEqualTo(140);
        file.write(new Restoration.Given(own, false, List.of(pending))); // after the add, before it was recorded
        Restoration again = new Restoration(loser.replica(), loser.directory, LoopbackPeer.JSON, now);
        assertThat(count()).isEqualTo(140);
        assertThat(again.restore(List.of(new Restoration.Loss(lost, "visits", 40, 40)), false, true, now))
                .extracting(Step::outcome)
                .containsExactly(Outcome.ALREADY_RESTORED);

        file.write(new Restoration.Given(own, false, List.of(new Restoration.Amount(lost, "visits", 90, 50, now, 0))));
        unused = new Restoration(loser.replica(), loser.directory, LoopbackPeer.JSON, now.plus(Duration.ofDays(2)));
        assertThat(count())
                .as("its key may have expired, so it may have been added")
                .isEqualTo(140);
        file.write(new Restoration.Given(UUID.randomUUID(), false, List.of(pending)));
        unused = new Restoration(loser.replica(), loser.directory, LoopbackPeer.JSON, now);
        assertThat(count()).as("an amount of another store is ignored").isEqualTo(140);
    }
}
