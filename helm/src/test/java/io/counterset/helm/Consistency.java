// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/**
 * Checks that the objects of a release are consistent for any values: names that refer to another
 * object match it.
 */
final class Consistency {

    private static final String DNS_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";
    private static final String LABEL_KEY =
            "(" + DNS_LABEL + "(\\." + DNS_LABEL + ")*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?";
    private static final String LABEL_VALUE = "([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?";

    private final Chart.Objects objects;
    private final String namespace;
    private final JsonNode set;
    private final JsonNode pod;
    private final JsonNode container;

    private Consistency(Chart.Objects objects) {
        this.objects = objects;
        namespace = objects.statefulSet().at("/metadata/namespace").asText();
        set = objects.statefulSet();
        pod = objects.pod();
        container = objects.container();
    }

    static void check(Chart.Objects objects) {
        Consistency consistency = new Consistency(objects);
        consistency.metadata();
        consistency.selectors();
        consistency.volumes();
        consistency.ports();
        consistency.peers();
        consistency.rights();
        consistency.test();
        consistency.serverSideApply();
    }

    private void metadata() {
        assertThat(objects.names()).doesNotHaveDuplicates();
        assertThat(set.at("/metadata/name").asText()).matches("[a-z]([-a-z0-9]{0,50}[a-z0-9])?");
        for (JsonNode object : objects.all()) {
            String name = object.at("/metadata/name").asText();
            assertThat(name).matches(DNS_LABEL);
            if (object.path("kind").asText().equals("Service")) {
                assertThat(name).matches("[a-z].*");
            }
            for (JsonNode labels : object.findValues("labels")) {
                labels.properties().forEach(label -> {
                    assertThat(label.getKey()).matches(LABEL_KEY);
                    assertThat(label.getValue().asText()).matches(LABEL_VALUE);
                });
            }
            for (JsonNode annotations : object.findValues("annotations")) {
                annotations
                        .properties()
                        .forEach(a ->
                                assertThat(a.getValue().isTextual()).as("%s", a).isTrue());
            }
        }
        assertThat(objects.all())
                .filteredOn(o -> o.at("/metadata/labels").has("helm.sh/chart"))
                .filteredOn(o -> !o.path("apiVersion").asText().startsWith("monitoring."))
                .allSatisfy(o -> assertThat(o.at("/metadata/namespace").asText())
                        .as("%s", o)
                        .isEqualTo(namespace));
        assertThat(set.at("/metadata/labels").properties())
                .extracting(Map.Entry::getKey)
                .contains(
                        "app.kubernetes.io/name",
                        "app.kubernetes.io/instance",
                        "app.kubernetes.io/version",
                        "app.kubernetes.io/managed-by",
                        "helm.sh/chart");
    }

    private void selectors() {
        Map<String, String> selector = strings(set.at("/spec/selector/matchLabels"));
        assertThat(selector).containsOnlyKeys("app.kubernetes.io/name", "app.kubernetes.io/instance");
        assertThat(strings(set.at("/spec/template/metadata/labels"))).containsAllEntriesOf(selector);
        for (JsonNode service : chartsServices()) {
            Map<String, String> selected = strings(service.at("/spec/selector"));
            if (service.at("/metadata/labels/counterset.io~1service").asText().equals("replica")) {
                assertThat(selected.remove("statefulset.kubernetes.io/pod-name"))
                        .isEqualTo(service.at("/metadata/name").asText())
                        .startsWith(set.at("/metadata/name").asText() + "-");
            }
            assertThat(selected).isEqualTo(selector);
        }
        for (JsonNode budget : objects.of("PodDisruptionBudget")) {
            assertThat(strings(budget.at("/spec/selector/matchLabels"))).isEqualTo(selector);
        }
        for (JsonNode policy : objects.of("NetworkPolicy")) {
            assertThat(strings(policy.at("/spec/podSelector/matchLabels"))).isEqualTo(selector);
        }
        for (JsonNode constraint : pod.path("topologySpreadConstraints")) {
            assertThat(constraint.path("labelSelector").isObject()).isTrue();
        }
        for (JsonNode monitor : objects.of("ServiceMonitor")) {
            Map<String, String> wanted = strings(monitor.at("/spec/selector/matchLabels"));
            assertThat(objects.of("Service"))
                    .filteredOn(
                            s -> strings(s.at("/metadata/labels")).entrySet().containsAll(wanted.entrySet()))
                    .extracting(s -> s.at("/metadata/name").asText())
                    .as("each replica must be scraped once")
                    .containsExactly(set.at("/spec/serviceName").asText());
        }
        for (JsonNode monitor : objects.of("PodMonitor")) {
            assertThat(strings(monitor.at("/spec/selector/matchLabels"))).isEqualTo(selector);
            assertThat(monitor.at("/spec/podMetricsEndpoints/0/relabelings/0/replacement"))
                    .as("the alerts select by job")
                    .isEqualTo(set.at("/spec/serviceName"));
        }
        for (JsonNode test : objects.of("Pod")) {
            assertThat(strings(test.at("/metadata/labels")).entrySet().containsAll(selector.entrySet()))
                    .as("no service may select the test's pod")
                    .isFalse();
        }
    }

    private void volumes() {
        String mountPath = container.path("workingDir").asText();
        List<String> volumes = new ArrayList<>();
        stream(set.at("/spec/volumeClaimTemplates"))
                .map(c -> c.at("/metadata/name").asText())
                .forEach(volumes::add);
        assertThat(volumes).hasSizeLessThan(2);
        assertThat(set.at("/spec").has("persistentVolumeClaimRetentionPolicy")).isEqualTo(!volumes.isEmpty());
        stream(pod.path("volumes")).map(v -> v.path("name").asText()).forEach(volumes::add);
        assertThat(volumes).doesNotHaveDuplicates();
        for (JsonNode c : containers()) {
            assertThat(stream(c.path("volumeMounts")).map(m -> m.path("name").asText()))
                    .isSubsetOf(volumes);
            assertThat(stream(c.path("volumeMounts"))
                            .map(m -> m.path("mountPath").asText()))
                    .doesNotHaveDuplicates();
        }
        assertThat(stream(container.path("volumeMounts"))
                        .filter(m -> !m.path("name").asText().equals("tmp"))
                        .map(m -> m.path("mountPath").asText()))
                .as("the volume is the directory of the counters and the working directory of kubectl exec")
                .contains(mountPath);
        assertThat(objects.environment()).containsEntry("COUNTER_DIRECTORY", mountPath);
    }

    private void ports() {
        List<String> ports = containers().stream()
                .flatMap(c -> stream(c.path("ports")))
                .map(p -> p.path("name").asText())
                .toList();
        assertThat(ports).doesNotHaveDuplicates().contains("http");
        assertThat(objects.environment())
                .containsEntry(
                        "MICRONAUT_SERVER_PORT",
                        container.at("/ports/0/containerPort").asText());
        for (JsonNode service : chartsServices()) {
            assertThat(service.at("/spec/ports/0/targetPort").asText()).isIn(ports);
        }
        for (String probe : List.of("startupProbe", "readinessProbe", "livenessProbe")) {
            if (container.has(probe)) {
                assertThat(container.at("/" + probe + "/httpGet/port").asText("http"))
                        .isEqualTo(
                                objects.environment().containsKey("COUNTER_MANAGEMENT_PORT") ? "management" : "http");
            }
        }
        for (JsonNode ingress : objects.of("Ingress")) {
            for (JsonNode backend : ingress.findValues("backend")) {
                if (backend.at("/service/port/name").asText().equals("use-annotation")) {
                    continue; // a user's own path
                }
                JsonNode service =
                        objects.get("Service", backend.at("/service/name").asText());
                assertThat(backend.at("/service/port/name")).isEqualTo(service.at("/spec/ports/0/name"));
            }
        }
        for (JsonNode route : objects.of("HTTPRoute")) {
            assertThat(route.findValues("backendRefs")).isNotEmpty();
            for (JsonNode backends : route.findValues("backendRefs")) {
                JsonNode service = objects.get("Service", backends.at("/0/name").asText());
                assertThat(backends.at("/0/port")).isEqualTo(service.at("/spec/ports/0/port"));
            }
        }
    }

    private void peers() {
        JsonNode headless = objects.get("Service", set.at("/spec/serviceName").asText());
        assertThat(headless.at("/spec/clusterIP").asText()).isEqualTo("None");
        assertThat(headless.at("/spec/publishNotReadyAddresses").asBoolean()).isTrue();
        assertThat(objects.environment())
                .containsEntry(
                        "COUNTER_PEERS_SERVICE", headless.at("/metadata/name").asText())
                .containsEntry(
                        "COUNTER_PEERS_STATEFUL_SET", set.at("/metadata/name").asText());
        List<String> names =
                stream(container.path("env")).map(v -> v.path("name").asText()).toList();
        assertThat(names).doesNotHaveDuplicates();
        boolean watches = "kubernetes".equals(objects.environment().get("COUNTER_PEERS_SOURCE"));
        assertThat(pod.path("automountServiceAccountToken").asBoolean(true))
                .as("the token is mounted only if a watch needs it")
                .isEqualTo(watches);
        if (watches) {
            assertThat(names).as("scaling must not restart pods").doesNotContain("COUNTER_PEERS_EXPECTED");
        } else {
            if (set.at("/spec/replicas").asInt() > 0) {
                assertThat(objects.environment())
                        .containsEntry(
                                "COUNTER_PEERS_EXPECTED",
                                set.at("/spec/replicas").asText());
            }
            assertThat(objects.of("Role")).isEmpty();
        }
    }

    private void rights() {
        String account = pod.path("serviceAccountName").asText();
        for (JsonNode made : objects.of("ServiceAccount")) {
            assertThat(made.at("/metadata/name").asText()).isEqualTo(account);
            assertThat(made.path("automountServiceAccountToken").asBoolean(true))
                    .isFalse();
        }
        assertThat(objects.of("RoleBinding")).hasSameSizeAs(objects.of("Role"));
        for (JsonNode role : objects.of("Role")) {
            String name = role.at("/metadata/name").asText();
            JsonNode binding = objects.get("RoleBinding", name);
            assertThat(binding.at("/roleRef/kind").asText()).isEqualTo("Role");
            assertThat(binding.at("/roleRef/name").asText()).isEqualTo(name);
            assertThat(binding.path("subjects")).hasSize(1);
            assertThat(binding.at("/subjects/0/kind").asText()).isEqualTo("ServiceAccount");
            assertThat(binding.at("/subjects/0/name").asText()).isEqualTo(account);
            assertThat(role.path("rules")).hasSize(2);
            assertThat(role.at("/rules/0").toString())
                    .isEqualTo(
                            "{\"apiGroups\":[\"discovery.k8s.io\"],\"resources\":[\"endpointslices\"],\"verbs\":[\"list\",\"watch\"]}");
            assertThat(role.at("/rules/1").toString())
                    .isEqualTo("{\"apiGroups\":[\"apps\"],\"resources\":[\"statefulsets\"],\"resourceNames\":[\""
                            + set.at("/metadata/name").asText() + "\"],\"verbs\":[\"list\",\"watch\"]}");
        }
    }

    private void test() {
        for (JsonNode test : objects.of("Pod")) {
            JsonNode check = test.at("/spec/containers/0");
            assertThat(check.path("image")).isEqualTo(container.path("image"));
            assertThat(test.at("/spec/automountServiceAccountToken").asBoolean(true))
                    .isFalse();
            assertThat(test.at("/spec/restartPolicy").asText()).isEqualTo("Never");
            String url = check.at("/args/1").asText();
            String scheme = objects.environment().containsKey("COUNTER_TLS_CERTIFICATE") ? "https://" : "http://";
            assertThat(url).startsWith(scheme);
            JsonNode service = objects.get("Service", url.substring(scheme.length(), url.lastIndexOf(':')));
            assertThat(url.substring(url.lastIndexOf(':') + 1))
                    .isEqualTo(service.at("/spec/ports/0/port").asText());
            assertThat(check.at("/args/5").asText())
                    .isEqualTo(set.at("/spec/replicas").asText());
        }
    }

    /**
     * Server-side apply merges these lists by these fields, and rejects an object with a duplicate.
     */
    private void serverSideApply() {
        for (JsonNode c : containers()) {
            assertUnique(c.path("ports"), "containerPort", "protocol");
            assertUnique(c.path("env"), "name");
            assertUnique(c.path("volumeMounts"), "mountPath");
        }
        assertUnique(pod.path("containers"), "name");
        assertUnique(pod.path("initContainers"), "name");
        assertUnique(pod.path("volumes"), "name");
        assertUnique(pod.path("imagePullSecrets"), "name");
        assertUnique(pod.path("hostAliases"), "ip");
        assertUnique(pod.path("topologySpreadConstraints"), "topologyKey", "whenUnsatisfiable");
        assertThat(container.at("/ports/0/protocol").asText()).isEqualTo("TCP");
        for (JsonNode service : chartsServices()) {
            assertUnique(service.at("/spec/ports"), "port", "protocol");
            assertThat(service.at("/spec/ports/0/protocol").asText()).isEqualTo("TCP");
        }
    }

    private static void assertUnique(JsonNode list, String... keys) {
        assertThat(stream(list)
                        .map(item -> Stream.of(keys)
                                .map(key -> item.path(key).asText())
                                .toList()))
                .doesNotHaveDuplicates();
    }

    private List<JsonNode> chartsServices() {
        return objects.of("Service").stream()
                .filter(s -> s.at("/metadata/labels").has("counterset.io/service"))
                .toList();
    }

    private List<JsonNode> containers() {
        return Stream.concat(stream(pod.path("initContainers")), stream(pod.path("containers")))
                .toList();
    }

    private static Map<String, String> strings(JsonNode map) {
        Map<String, String> strings = new TreeMap<>();
        map.properties().forEach(e -> strings.put(e.getKey(), e.getValue().asText()));
        return strings;
    }

    private static Stream<JsonNode> stream(JsonNode list) {
        return StreamSupport.stream(list.spliterator(), false);
    }
}
