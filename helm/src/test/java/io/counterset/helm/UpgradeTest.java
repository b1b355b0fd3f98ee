// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * A live release accepts every change that Kubernetes accepts. Every other change is rejected with
 * an explanation before anything is changed.
 */
class UpgradeTest {

    @SuppressWarnings("NullAway.Init")
    private static Cluster cluster;

    @BeforeAll
    static void start() throws IOException {
        cluster = new Cluster(Chart.NEWEST_KUBERNETES);
        cluster.install(Chart.DIRECTORY, "");
    }

    @AfterAll
    static void stop() {
        cluster.close();
    }

    @Test
    void theTestIsAHookOfTheRelease() throws IOException {
        cluster.upgrade(Chart.DIRECTORY, "");

        JsonNode hooks = cluster.record().path("hooks");
        assertThat(hooks).hasSize(1);
        assertThat(hooks.at("/0/events").toString()).isEqualTo("[\"test\"]");
        JsonNode pod = Chart.YAML.readTree(hooks.at("/0/manifest").asText());
        assertThat(pod.at("/spec")).isEqualTo(Chart.render("app-python", "").at("Pod", "app-python-test", "/spec"));
        assertThat(cluster.objects().of("Pod")).as("it runs only on request").isEmpty();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "replicaCount: 5 | /spec/replicas | 5",
                "persistence: {size: 1024Mi} | /spec/volumeClaimTemplates/0/spec/resources/requests/storage | 1024Mi",
                "persistentVolumeClaimRetentionPolicy: {whenScaled: Delete} | /spec/persistentVolumeClaimRetentionPolicy/whenScaled | Delete",
                "updateStrategy: {rollingUpdate: {partition: 1}} | /spec/updateStrategy/rollingUpdate/partition | 1",
                "minReadySeconds: 5 | /spec/minReadySeconds | 5",
                "revisionHistoryLimit: 2 | /spec/revisionHistoryLimit | 2",
                "commonLabels: {team: payments} | /metadata/labels/team | payments",
            })
    void acceptsChangesThatKubernetesAllows(String values, String pointer, String value) {
        cluster.upgrade(Chart.DIRECTORY, values);

        assertThat(cluster.objects().at("StatefulSet", "app-python", pointer).asText())
                .isEqualTo(value);

        cluster.upgrade(Chart.DIRECTORY, "");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "persistence: {storageClass: fast} | persistence.storageClass, from \"\" to \"fast\"",
                "persistence: {storageClass: '-'} | persistence.storageClass, from \"\" to \"-\"",
                "persistence: {accessModes: [ReadWriteMany]} | persistence.accessModes, from [\"ReadWriteOnce\"] to [\"ReadWriteMany\"]",
                "persistence: {name: other} | persistence.name, from \"data\" to \"other\"",
                "persistence: {labels: {a: b}} | persistence.labels, from {} to {\"a\":\"b\"}",
                "persistence: {annotations: {a: b}} | persistence.annotations, from {} to {\"a\":\"b\"}",
                "headlessService: {name: other} | headlessService.name, from app-python-headless to other",
                "{nameOverride: clicks, fullnameOverride: app-python} | the selector, from",
            })
    void rejectsChangesThatKubernetesDoesNotAllow(String values, String part) {
        JsonNode before = cluster.objects().statefulSet();

        assertThatThrownBy(() -> cluster.upgrade(Chart.DIRECTORY, values))
                .hasMessageContaining("Nothing was changed")
                .hasMessageContaining("  - " + part)
                .hasMessageContaining("kubectl -n demo delete statefulset app-python --cascade=orphan");

        assertThat(cluster.objects().statefulSet()).isEqualTo(before);
    }

    @Test
    void explainsHowToGrowTheVolumes() {
        JsonNode before = cluster.objects().statefulSet();

        assertThatThrownBy(() -> cluster.upgrade(Chart.DIRECTORY, "persistence: {size: 2Gi}"))
                .hasMessageContaining("persistence.size is 2Gi, but the volumes of the live StatefulSet"
                        + " app-python were made with 1Gi")
                .hasMessageContaining("for claim in data-app-python-0 data-app-python-1 data-app-python-2; do")
                .hasMessageContaining("kubectl -n demo delete statefulset app-python --cascade=orphan");

        assertThat(cluster.objects().statefulSet()).isEqualTo(before);
    }

    @Test
    void growsTheVolumesAsExplained() throws IOException {
        try (Cluster own = new Cluster(Chart.NEWEST_KUBERNETES)) {
            own.install(Chart.DIRECTORY, "");
            own.delete("StatefulSet", "app-python");

            own.upgrade(Chart.DIRECTORY, "persistence: {size: 2Gi}");

            assertThat(own.objects()
                            .statefulSet()
                            .at("/spec/volumeClaimTemplates/0/spec/resources/requests/storage")
                            .asText())
                    .isEqualTo("2Gi");
        }
    }

    @Test
    void rejectsAChangedRevisionHistoryOnOldKubernetes() throws IOException {
        try (Cluster old = new Cluster(Chart.OLDEST_KUBERNETES)) {
            old.install(Chart.DIRECTORY, "");

            assertThatThrownBy(() -> old.upgrade(Chart.DIRECTORY, "revisionHistoryLimit: 2"))
                    .hasMessageContaining("  - revisionHistoryLimit, from 10 to 2");
        }
    }

    @Test
    void migratesFromAPlainCountTxtChart(@TempDir Path directory) throws IOException {
        Path plain = directory.resolve("app-python-chart");
        Files.createDirectories(plain.resolve("templates"));
        Files.writeString(plain.resolve("Chart.yaml"), "{apiVersion: v2, name: app-python-chart, version: 0.0.1}");
        Files.writeString(plain.resolve("templates/all.yaml"), """
                apiVersion: v1
                kind: Service
                metadata: {name: app-python-app-python-chart}
                spec: {type: LoadBalancer, selector: {app: app-python}, ports: [{port: 5000}]}
                ---
                apiVersion: apps/v1
                kind: StatefulSet
                metadata: {name: app-python-app-python-chart, namespace: demo}
                spec:
                  replicas: 3
                  serviceName: app-python-app-python-chart
                  podManagementPolicy: OrderedReady
                  revisionHistoryLimit: 10
                  selector: {matchLabels: {app: app-python}}
                  template: {metadata: {labels: {app: app-python}}, spec: {containers: [{name: app, image: app}]}}
                  volumeClaimTemplates:
                    - metadata: {name: app-volume}
                      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}
                """);
        try (Cluster own = new Cluster(Chart.NEWEST_KUBERNETES)) {
            own.install(plain, "");

            assertThatThrownBy(() -> own.upgrade(Chart.DIRECTORY, Migration.VALUES))
                    .hasMessageContaining("docs/migrate-from-count-txt.md")
                    .hasMessageContaining("  - podManagementPolicy, from OrderedReady to Parallel");
            own.delete("StatefulSet", "app-python-app-python-chart");
            own.upgrade(Chart.DIRECTORY, Migration.VALUES);

            Chart.Objects objects = own.objects();
            assertThat(objects.statefulSet().at("/metadata/name").asText()).isEqualTo("app-python-app-python-chart");
            assertThat(objects.statefulSet()
                            .at("/spec/volumeClaimTemplates/0/metadata/name")
                            .asText())
                    .isEqualTo("app-volume");
            assertThat(objects.at("Service", "app-python-app-python-chart", "/spec/selector/app.kubernetes.io~1name")
                            .asText())
                    .as("the old service, with its address, now selects the new pods")
                    .isEqualTo("counter");
        }
    }
}
