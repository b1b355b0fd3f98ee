package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import io.micronaut.json.tree.JsonNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Three replicas on one machine, each with a count of its own. */
class PeersIT {

    @Test
    void everyReplicaShowsAllCountsAndSaysWhenOneIsDown(@TempDir Path folder) throws Exception {
        List<Integer> ports = List.of(ServiceProcess.freePort(), ServiceProcess.freePort(), ServiceProcess.freePort());
        String addresses = "127.0.0.1:" + ports.get(0) + ",127.0.0.1:" + ports.get(1) + ",127.0.0.1:" + ports.get(2);
        List<ServiceProcess> replicas = new ArrayList<>();
        try {
            for (int i = 0; i < 3; i++) {
                Map<String, String> environment = new HashMap<>();
                environment.put("COUNTER_INSTANCE", "app-" + i);
                environment.put("COUNTER_DIRECTORY", "data-" + i);
                environment.put("MICRONAUT_SERVER_PORT", ports.get(i).toString());
                environment.put("COUNTER_PEERS_ADDRESSES", addresses);
                environment.put("COUNTER_PEERS_TIMEOUT", "10s"); // a busy machine is not a peer that is down
                environment.put("COUNTER_PEERS_DEADLINE", "20s");
                replicas.add(ServiceProcess.start(folder, environment));
            }
            for (int i = 0; i < 3; i++) {
                for (int visit = 0; visit < 2 * i + 1; visit++) {
                    assertThat(replicas.get(i).send("GET", "/").body())
                            .isEqualTo("visits " + (visit + 1) + " on app-" + i + "\n");
                }
            }

            for (ServiceProcess asked : replicas) {
                JsonNode report = asked.json("/peers");
                assertReport(report, 9, true, 3);
                assertThat(peers(report)).containsExactly("app-0 live 1", "app-1 live 3", "app-2 live 5");
            }
            assertThat(replicas.get(1)
                            .send("GET", "/peers", "Accept", "text/plain")
                            .body())
                    .startsWith("visits: total 9, 3 of 3 replicas answered\n")
                    .containsPattern("\napp-2 +live +5 ");

            replicas.get(2).terminate();

            JsonNode report = replicas.get(0).json("/peers");
            assertReport(report, 9, false, 2);
            assertThat(peers(report)).containsExactly("app-0 live 1", "app-1 live 3", "app-2 unreachable 5");
            assertThat(replicas.get(0)
                            .send("GET", "/peers", "Accept", "text/plain")
                            .body())
                    .startsWith("visits: at least 9, 2 of 3 replicas answered\n");
        } finally {
            replicas.forEach(ServiceProcess::close);
        }
    }

    private static void assertReport(JsonNode report, int total, boolean complete, int answered) {
        assertThat(report.get("total").getIntValue()).isEqualTo(total);
        assertThat(report.get("complete").getBooleanValue()).isEqualTo(complete);
        assertThat(report.get("answered").getIntValue()).isEqualTo(answered);
        assertThat(report.get("expected").getIntValue()).isEqualTo(3);
    }

    private static List<String> peers(JsonNode report) {
        List<String> peers = new ArrayList<>();
        for (JsonNode peer : report.get("peers").values()) {
            peers.add(peer.get("instance").getStringValue() + " "
                    + peer.get("state").getStringValue() + " "
                    + peer.get("count").getIntValue());
        }
        return peers;
    }
}
