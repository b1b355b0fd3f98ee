// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/**
 * Every switch, and every combination of related switches, works as documented. Each set of values
 * is rendered for the oldest and the newest Kubernetes. The objects are checked against the API
 * types, the restricted profile, each other, and the expectation of the set.
 */
class ValueSetsTest {

    private static final String RELEASE = "app-python";

    /**
     * Set by the cluster, for a source of peers that the chart does not offer, or by the volume's
     * mount path.
     */
    private static final Set<String> NOT_VALUES = Set.of(
            "COUNTER_PEERS_ADDRESSES",
            "COUNTER_PEERS_DIRECTORY",
            "MICRONAUT_SERVER_HOST",
            "MICRONAUT_SERVER_IDLE_TIMEOUT");

    /**
     * The documented settings of the service: variables, and names below {@code counter.peers.}.
     */
    private static final Pattern SETTING = Pattern.compile("(?m)^\\| `((?:COUNTER|MICRONAUT)_[A-Z_]+)` \\|");

    private static final Pattern PEERS_SETTING = Pattern.compile("@param \\w+ \\{@code ([a-z-]+)}");

    /** Otherwise a new setting of the service could be set only with {@code extraEnv}. */
    @Test
    void everySettingHasAValue() throws IOException {
        Path root = Path.of("..");
        Stream<String> settings = SETTING.matcher(Files.readString(root.resolve("docs/operations.md")))
                .results()
                .map(found -> found.group(1));
        Stream<String> peers = PEERS_SETTING
                .matcher(Files.readString(
                        root.resolve("counter-k8s/src/main/java/io/counterset/k8s/PeersSettings.java")))
                .results()
                .map(found ->
                        "COUNTER_PEERS_" + found.group(1).replace('-', '_').toUpperCase(Locale.ROOT));

        List<String> all = Stream.concat(settings, peers).toList();
        assertThat(all).contains("COUNTER_NAME", "COUNTER_PEERS_TIMEOUT").containsAll(NOT_VALUES);
        JsonNode env = Chart.render(RELEASE, "{peers: {source: dns}, metrics: {counters: [a]}, managementPort: 9090}")
                .container()
                .path("env");
        assertThat(env.findValuesAsText("name"))
                .containsAll(
                        all.stream().filter(name -> !NOT_VALUES.contains(name)).toList());
    }

    /** A set of values and the expectation about its objects. */
    private record Case(String name, String release, String values, Consumer<Chart.Objects> expectation) {}

    private static Case given(String name, String values, Consumer<Chart.Objects> expectation) {
        return new Case(name, RELEASE, values, expectation);
    }

    @TestFactory
    Stream<DynamicTest> everySetOfValues() {
        return cases().stream()
                .flatMap(c -> Stream.of(KubernetesTypes.OLDEST, KubernetesTypes.NEWEST)
                        .map(types ->
                                DynamicTest.dynamicTest(c.name + " on Kubernetes " + types, () -> check(c, types))));
    }

    private static void check(Case c, KubernetesTypes types) {
        Chart.Objects objects = Chart.render(c.release, c.values, types.toString());
        objects.all().forEach(types::check);
        Consistency.check(objects);
        assertThat(PodSecurity.violations(objects.statefulSet().at("/spec/template")))
                .isEmpty();
        objects.of("Pod").forEach(pod -> assertThat(PodSecurity.violations(pod)).isEmpty());
        c.expectation.accept(objects);
    }

    private static List<Case> cases() {
        return List.of(
                given("the defaults", "", o -> {
                    JsonNode set = o.statefulSet();
                    assertThat(set.at("/metadata/name").asText()).isEqualTo("app-python");
                    assertThat(set.at("/spec/replicas").asInt()).isEqualTo(3);
                    assertThat(set.at("/spec/podManagementPolicy").asText()).isEqualTo("Parallel");
                    assertThat(set.at("/spec/updateStrategy"))
                            .isEqualTo(yaml("{type: RollingUpdate, rollingUpdate: {partition: 0}}"));
                    assertThat(set.at("/spec/persistentVolumeClaimRetentionPolicy"))
                            .isEqualTo(yaml("{whenDeleted: Retain, whenScaled: Retain}"));
                    assertThat(set.at("/spec/volumeClaimTemplates/0/spec"))
                            .isEqualTo(yaml("{accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}"));
                    assertThat(o.container().path("image").asText())
                            .isEqualTo("counter-app:" + System.getProperty("project.version"));
                    assertThat(o.container()
                                    .at("/securityContext/readOnlyRootFilesystem")
                                    .asBoolean())
                            .isTrue();
                    for (String probe : List.of("startupProbe", "readinessProbe", "livenessProbe")) {
                        assertThat(o.container().path(probe).isObject())
                                .as(probe)
                                .isTrue();
                    }
                    assertThat(o.container().at("/readinessProbe/httpGet/path").asText())
                            .isEqualTo("/health/readiness");
                    assertThat(o.container().at("/livenessProbe/httpGet/path").asText())
                            .isEqualTo("/health/liveness");
                    assertThat(o.pod().path("topologySpreadConstraints")).hasSize(2);
                    assertThat(o.pod()
                                    .at("/topologySpreadConstraints/0/whenUnsatisfiable")
                                    .asText())
                            .isEqualTo("ScheduleAnyway");
                    assertThat(o.environment())
                            .containsEntry("COUNTER_NAME", "visits")
                            .containsEntry("COUNTER_DURABILITY", "sync")
                            .containsEntry("COUNTER_PEERS_SOURCE", "kubernetes")
                            .containsEntry("COUNTER_PEERS_SERVICE", "app-python-headless");
                    JsonNode service = o.get("Service", "app-python");
                    assertThat(service.at("/spec/type").asText()).isEqualTo("LoadBalancer");
                    assertThat(service.at("/spec/ports/0/port").asInt()).isEqualTo(5000);
                    assertThat(service.at("/spec/sessionAffinity").asText()).isEqualTo("None");
                    assertThat(o.at("PodDisruptionBudget", RELEASE, "/spec/maxUnavailable")
                                    .asInt())
                            .isEqualTo(1);
                    assertThat(o.at("Pod", "app-python-test", "/spec/containers/0/args"))
                            .isEqualTo(
                                    yaml(
                                            "[check, http://app-python:5000, --counter, helm-test, --expected, '3', --timeout, '60']"));
                }),
                given("nameOverride", "nameOverride: clicks", o -> {
                    assertThat(o.statefulSet().at("/metadata/name").asText()).isEqualTo("app-python-clicks");
                    assertThat(o.statefulSet()
                                    .at("/spec/selector/matchLabels/app.kubernetes.io~1name")
                                    .asText())
                            .isEqualTo("clicks");
                }),
                given(
                        "nameOverride that the release's name holds already",
                        "nameOverride: python",
                        o -> assertThat(o.statefulSet().at("/metadata/name").asText())
                                .isEqualTo("app-python")),
                given(
                        "fullnameOverride wins",
                        "{fullnameOverride: visits, nameOverride: clicks}",
                        o -> assertThat(o.names())
                                .contains(
                                        "StatefulSet/visits",
                                        "Service/visits",
                                        "Service/visits-headless",
                                        "Role/visits")),
                new Case(
                        "a release's name of greatest length",
                        "a".repeat(53),
                        "",
                        o -> assertThat(o.statefulSet().at("/metadata/name").asText())
                                .hasSize(52)),
                new Case(
                        "a release's name with dots",
                        "app.python.v2",
                        "",
                        o -> assertThat(o.statefulSet().at("/metadata/name").asText())
                                .isEqualTo("app-python-v2")),
                given("image by digest", """
                        image:
                          registry: registry.example.com:5000/mirror
                          repository: team/counter-app
                          tag: "1"
                          digest: sha256:%s
                          pullPolicy: Always
                        imagePullSecrets: [{name: first}, second]
                        """.formatted("ab".repeat(32)), o -> {
                    assertThat(o.container().path("image").asText())
                            .isEqualTo("registry.example.com:5000/mirror/team/counter-app@sha256:" + "ab".repeat(32));
                    assertThat(o.container().path("imagePullPolicy").asText()).isEqualTo("Always");
                    assertThat(o.pod().path("imagePullSecrets")).isEqualTo(yaml("[{name: first}, {name: second}]"));
                    assertThat(o.at("Pod", "app-python-test", "/spec/imagePullSecrets"))
                            .hasSize(2);
                }),
                given(
                        "image by tag",
                        "image: {tag: 2.0.0-rc.1}",
                        o -> assertThat(o.container().path("image").asText()).isEqualTo("counter-app:2.0.0-rc.1")),
                given(
                        "settings of the counter",
                        """
                        counter:
                          name: "page views: café"
                          durability: 100ms
                          maxPending: 100000
                          idempotency: {maxKeys: 1000000, maxAge: 7d}
                        peers: {group: shop, timeout: 300ms, deadline: 1m, concurrency: 5000, refresh: 0s, lossShown: 90d}
                        metrics: {counters: ["page views: café", sales]}
                        log: {format: json, level: warn}
                        jvm: {options: ""}
                        containerPort: 9090
                        """,
                        o -> assertThat(o.environment())
                                .containsEntry("COUNTER_NAME", "page views: café")
                                .containsEntry("COUNTER_DURABILITY", "100ms")
                                .containsEntry("COUNTER_IDEMPOTENCY_MAX_KEYS", "1000000")
                                .containsEntry("COUNTER_IDEMPOTENCY_MAX_AGE", "7d")
                                .containsEntry("COUNTER_MAX_PENDING", "100000")
                                .containsEntry("COUNTER_PEERS_GROUP", "shop")
                                .containsEntry("COUNTER_PEERS_TIMEOUT", "300ms")
                                .containsEntry("COUNTER_PEERS_DEADLINE", "1m")
                                .containsEntry("COUNTER_PEERS_CONCURRENCY", "5000")
                                .containsEntry("COUNTER_PEERS_REFRESH", "0s")
                                .containsEntry("COUNTER_PEERS_LOSS_SHOWN", "90d")
                                .containsEntry("COUNTER_METRICS_COUNTERS", "page views: café,sales")
                                .containsEntry("COUNTER_LOG_FORMAT", "json")
                                .containsEntry("COUNTER_LOG_LEVEL", "warn")
                                .containsEntry("MICRONAUT_SERVER_PORT", "9090")
                                .doesNotContainKey("JAVA_TOOL_OPTIONS")),
                given("peers by dns", "{peers: {source: dns}, replicaCount: 5}", o -> {
                    assertThat(o.environment())
                            .containsEntry("COUNTER_PEERS_SOURCE", "dns")
                            .containsEntry("COUNTER_PEERS_EXPECTED", "5");
                    assertThat(o.names()).contains("ServiceAccount/app-python");
                }),
                given("no rights: auto means dns", "{rbac: {create: false}, serviceAccount: {create: false}}", o -> {
                    assertThat(o.environment()).containsEntry("COUNTER_PEERS_SOURCE", "dns");
                    assertThat(o.pod().path("serviceAccountName").asText()).isEqualTo("default");
                    assertThat(o.names()).noneMatch(n -> n.contains("Role") || n.contains("ServiceAccount"));
                }),
                given("rights given elsewhere", """
                        peers: {source: kubernetes}
                        rbac: {create: false}
                        serviceAccount: {create: false, name: counters}
                        """, o -> {
                    assertThat(o.pod().path("serviceAccountName").asText()).isEqualTo("counters");
                    assertThat(o.pod().path("automountServiceAccountToken").asBoolean())
                            .isTrue();
                    assertThat(o.of("Role")).isEmpty();
                }),
                given(
                        "rights for the default account, if it is named",
                        "serviceAccount: {create: false, name: default}",
                        o -> assertThat(o.at("RoleBinding", RELEASE, "/subjects/0/name")
                                        .asText())
                                .isEqualTo("default")),
                given(
                        "a ServiceAccount of another name",
                        """
                        serviceAccount: {name: counters, annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::1:role/a"}}
                        """,
                        o -> assertThat(o.at(
                                                "ServiceAccount",
                                                "counters",
                                                "/metadata/annotations/eks.amazonaws.com~1role-arn")
                                        .asText())
                                .isEqualTo("arn:aws:iam::1:role/a")),
                given("service: ClusterIP", "service: {type: ClusterIP, nodePort: 30500, clusterIP: 10.96.0.50}", o -> {
                    JsonNode spec = o.at("Service", RELEASE, "/spec");
                    assertThat(spec.path("clusterIP").asText()).isEqualTo("10.96.0.50");
                    assertThat(spec.at("/ports/0").has("nodePort")).isFalse();
                    assertThat(spec.has("externalTrafficPolicy")).isFalse();
                    assertThat(spec.has("allocateLoadBalancerNodePorts")).isFalse();
                }),
                given("service: NodePort", """
                        service: {type: NodePort, port: 80, nodePort: 30500, externalTrafficPolicy: Local, loadBalancerClass: not/used}
                        """, o -> {
                    JsonNode spec = o.at("Service", RELEASE, "/spec");
                    assertThat(spec.at("/ports/0/nodePort").asInt()).isEqualTo(30500);
                    assertThat(spec.path("externalTrafficPolicy").asText()).isEqualTo("Local");
                    assertThat(spec.has("loadBalancerClass")).isFalse();
                    assertThat(o.at("Pod", "app-python-test", "/spec/containers/0/args/1")
                                    .asText())
                            .isEqualTo("http://app-python:80");
                }),
                given("service: LoadBalancer in full", """
                        service:
                          name: counters
                          labels: {tier: edge}
                          annotations: {service.beta.kubernetes.io/aws-load-balancer-scheme: internal}
                          loadBalancerClass: service.k8s.aws/nlb
                          loadBalancerSourceRanges: [10.0.0.0/8, "2001:db8::/32"]
                          allocateLoadBalancerNodePorts: false
                          externalTrafficPolicy: Local
                          internalTrafficPolicy: Local
                          ipFamilyPolicy: PreferDualStack
                          ipFamilies: [IPv6, IPv4]
                        headlessService: {name: counter-peers, labels: {tier: inner}, annotations: {a/b: c}}
                        """, o -> {
                    JsonNode spec = o.at("Service", "counters", "/spec");
                    assertThat(spec.path("loadBalancerClass").asText()).isEqualTo("service.k8s.aws/nlb");
                    assertThat(spec.path("loadBalancerSourceRanges")).hasSize(2);
                    assertThat(spec.path("allocateLoadBalancerNodePorts").asBoolean(true))
                            .isFalse();
                    assertThat(spec.path("internalTrafficPolicy").asText()).isEqualTo("Local");
                    assertThat(spec.path("ipFamilyPolicy").asText()).isEqualTo("PreferDualStack");
                    assertThat(o.at("Service", "counters", "/metadata/labels/tier")
                                    .asText())
                            .isEqualTo("edge");
                    JsonNode headless = o.get("Service", "counter-peers");
                    assertThat(headless.at("/spec/ipFamilies")).isEqualTo(yaml("[IPv6, IPv4]"));
                    assertThat(headless.at("/metadata/annotations/a~1b").asText())
                            .isEqualTo("c");
                    assertThat(o.environment()).containsEntry("COUNTER_PEERS_SERVICE", "counter-peers");
                }),
                given(
                        "session affinity",
                        "service: {sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}}",
                        o -> {
                            assertThat(o.at("Service", RELEASE, "/spec/sessionAffinity")
                                            .asText())
                                    .isEqualTo("ClientIP");
                            assertThat(o.at("Service", RELEASE, "/spec/sessionAffinityConfig/clientIP/timeoutSeconds")
                                            .asInt())
                                    .isEqualTo(60);
                        }),
                given("persistence in full", """
                        persistence:
                          name: volume
                          size: 1.5Gi
                          storageClass: fast-ssd
                          accessModes: [ReadWriteOncePod]
                          labels: {backup: nightly}
                          annotations: {backup.example.com/keep: "30"}
                          mountPath: /var/lib/counter
                          subPath: counts/live
                        persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Delete}
                        """, o -> {
                    JsonNode set = o.statefulSet();
                    assertThat(set.at("/spec/volumeClaimTemplates/0/metadata")).isEqualTo(yaml("""
                            {name: volume, labels: {backup: nightly}, annotations: {backup.example.com/keep: "30"}}"""));
                    assertThat(set.at("/spec/volumeClaimTemplates/0/spec")).isEqualTo(yaml("""
                            {accessModes: [ReadWriteOncePod], storageClassName: fast-ssd, resources: {requests: {storage: 1.5Gi}}}"""));
                    assertThat(set.at("/spec/persistentVolumeClaimRetentionPolicy"))
                            .isEqualTo(yaml("{whenDeleted: Delete, whenScaled: Delete}"));
                    assertThat(o.container().at("/volumeMounts/0"))
                            .isEqualTo(yaml("{name: volume, mountPath: /var/lib/counter, subPath: counts/live}"));
                    assertThat(o.container().path("workingDir").asText()).isEqualTo("/var/lib/counter");
                }),
                given(
                        "no storage class at all",
                        "persistence: {storageClass: '-'}",
                        o -> assertThat(o.statefulSet().at("/spec/volumeClaimTemplates/0/spec/storageClassName"))
                                .isEqualTo(yaml("''"))),
                given("resources and probes", """
                        resources: {requests: {cpu: 1, memory: 1Gi, ephemeral-storage: 10Mi}, limits: {cpu: 2.5, memory: 1Gi}}
                        startupProbe: {enabled: false}
                        readinessProbe: {periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 1}
                        livenessProbe: {enabled: false}
                        """, o -> {
                    assertThat(o.container().at("/resources/limits/memory").asText())
                            .isEqualTo("1Gi");
                    assertThat(o.container().has("startupProbe")).isFalse();
                    assertThat(o.container().has("livenessProbe")).isFalse();
                    assertThat(o.container().path("readinessProbe")).isEqualTo(yaml("""
                            {httpGet: {path: /health/readiness, port: http}, periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 1}"""));
                }),
                given("security contexts: the platform picks the user", """
                        podSecurityContext: {runAsUser: null, runAsGroup: null, fsGroup: null}
                        """, o -> {
                    assertThat(o.pod().path("securityContext").has("runAsUser")).isFalse();
                    assertThat(o.pod().path("securityContext").has("fsGroup")).isFalse();
                    assertThat(o.pod().at("/securityContext/runAsNonRoot").asBoolean())
                            .isTrue();
                }),
                given("security contexts in full", """
                        podSecurityContext: {runAsUser: 1000650000, fsGroupChangePolicy: Always, supplementalGroups: [5555], seLinuxOptions: {level: "s0:c1,c2"}}
                        containerSecurityContext: {runAsNonRoot: true, runAsUser: 1000650000, seccompProfile: {type: RuntimeDefault}, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}
                        """, o -> {
                    assertThat(o.pod().at("/securityContext/runAsUser").asLong())
                            .isEqualTo(1000650000L);
                    assertThat(o.container().at("/securityContext/runAsUser").isIntegralNumber())
                            .isTrue();
                }),
                given(
                        "disruption budget: fewest that stay",
                        "podDisruptionBudget: {minAvailable: 0, unhealthyPodEvictionPolicy: IfHealthyBudget}",
                        o -> {
                            JsonNode spec = o.at("PodDisruptionBudget", RELEASE, "/spec");
                            assertThat(spec.path("minAvailable").asInt(-1)).isZero();
                            assertThat(spec.has("maxUnavailable")).isFalse();
                            assertThat(spec.path("unhealthyPodEvictionPolicy").asText())
                                    .isEqualTo("IfHealthyBudget");
                        }),
                given(
                        "disruption budget: in per cent",
                        "podDisruptionBudget: {maxUnavailable: 50%}",
                        o -> assertThat(o.at("PodDisruptionBudget", RELEASE, "/spec/maxUnavailable")
                                        .asText())
                                .isEqualTo("50%")),
                given(
                        "no disruption budget",
                        "podDisruptionBudget: {enabled: false}",
                        o -> assertThat(o.of("PodDisruptionBudget")).isEmpty()),
                given("network policy with the API server", """
                        networkPolicy: {enabled: true, apiServer: {cidrs: [172.18.0.2/32, "fd00::2/128"], ports: [6443]}}
                        """, o -> {
                    JsonNode spec = o.at("NetworkPolicy", RELEASE, "/spec");
                    assertThat(spec.path("policyTypes")).isEqualTo(yaml("[Ingress, Egress]"));
                    assertThat(spec.path("ingress")).isEqualTo(yaml("[{ports: [{port: 8080, protocol: TCP}]}]"));
                    assertThat(spec.path("egress")).hasSize(3);
                    assertThat(spec.at("/egress/0/to/0/podSelector/matchLabels"))
                            .isEqualTo(spec.at("/podSelector/matchLabels"));
                    assertThat(spec.at("/egress/0/ports")).isEqualTo(yaml("[{port: 8080, protocol: TCP}]"));
                    assertThat(spec.at("/egress/1/ports"))
                            .isEqualTo(
                                    yaml(
                                            "[{port: 53, protocol: UDP}, {port: 53, protocol: TCP}, {port: 5353, protocol: UDP}, {port: 5353, protocol: TCP}]"));
                    assertThat(spec.at("/egress/1/to/0/podSelector/matchLabels/k8s-app")
                                    .asText())
                            .isEqualTo("kube-dns");
                    assertThat(spec.at("/egress/2"))
                            .isEqualTo(
                                    yaml(
                                            "{to: [{ipBlock: {cidr: 172.18.0.2/32}}, {ipBlock: {cidr: 'fd00::2/128'}}], ports: [{port: 6443, protocol: TCP}]}"));
                    assertThat(spec.findValues("to"))
                            .as("no rule allows everything")
                            .noneMatch(to -> to.isEmpty());
                }),
                given("network policy by dns, for named clients", """
                        peers: {source: dns}
                        networkPolicy:
                          enabled: true
                          clients: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress-nginx}}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]
                          extraIngress: [{from: [{podSelector: {}}], ports: [{port: 9999}]}]
                          extraEgress: [{to: [{ipBlock: {cidr: 169.254.20.10/32}}], ports: [{port: 53, protocol: UDP}]}]
                        """, o -> {
                    JsonNode spec = o.at("NetworkPolicy", RELEASE, "/spec");
                    assertThat(spec.path("egress"))
                            .as("peers, DNS and the extra rule, but no API server")
                            .hasSize(3);
                    JsonNode from = spec.at("/ingress/0/from");
                    assertThat(from).hasSize(4);
                    assertThat(from.at("/2/podSelector/matchLabels")).isEqualTo(spec.at("/podSelector/matchLabels"));
                    assertThat(from.at("/3/podSelector/matchLabels"))
                            .isEqualTo(o.at("Pod", "app-python-test", "/metadata/labels"));
                }),
                given("network policy without the test", """
                        tests: {enabled: false}
                        networkPolicy: {enabled: true, clients: [{podSelector: {}}], apiServer: {cidrs: [10.0.0.1/32]}}
                        """, o -> {
                    assertThat(o.at("NetworkPolicy", RELEASE, "/spec/ingress/0/from"))
                            .hasSize(2);
                    assertThat(o.of("Pod")).isEmpty();
                }),
                given("scheduling", """
                        topologySpreadConstraints: [{topologyKey: rack, maxSkew: 2, whenUnsatisfiable: DoNotSchedule}]
                        affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app.kubernetes.io/name: counter}}}]}}
                        tolerations: [{key: dedicated, operator: Equal, value: counters, effect: NoSchedule}, {operator: Exists, effect: NoExecute, tolerationSeconds: 30}]
                        nodeSelector: {disk: ssd}
                        priorityClassName: high
                        """, o -> {
                    assertThat(o.pod().at("/topologySpreadConstraints")).hasSize(1);
                    assertThat(o.pod()
                                    .at("/topologySpreadConstraints/0/maxSkew")
                                    .asInt())
                            .isEqualTo(2);
                    assertThat(o.pod().at("/affinity/podAntiAffinity").size()).isOne();
                    assertThat(o.pod().path("tolerations")).hasSize(2);
                    assertThat(o.pod().path("priorityClassName").asText()).isEqualTo("high");
                    assertThat(o.at("Pod", "app-python-test", "/spec/nodeSelector/disk")
                                    .asText())
                            .isEqualTo("ssd");
                    assertThat(o.at("Pod", "app-python-test", "/spec/tolerations"))
                            .hasSize(2);
                }),
                given(
                        "no spread",
                        "topologySpreadConstraints: []",
                        o -> assertThat(o.pod().has("topologySpreadConstraints"))
                                .isFalse()),
                given("updates by hand", """
                        updateStrategy: {type: OnDelete, rollingUpdate: {partition: 2}}
                        minReadySeconds: 20
                        revisionHistoryLimit: 3
                        terminationGracePeriodSeconds: 60
                        lifecycle: {preStop: null}
                        """, o -> {
                    assertThat(o.statefulSet().at("/spec/updateStrategy")).isEqualTo(yaml("{type: OnDelete}"));
                    assertThat(o.statefulSet().at("/spec/minReadySeconds").asInt())
                            .isEqualTo(20);
                    assertThat(o.statefulSet().at("/spec/revisionHistoryLimit").asInt())
                            .isEqualTo(3);
                    assertThat(o.pod().path("terminationGracePeriodSeconds").asInt())
                            .isEqualTo(60);
                    assertThat(o.container().has("lifecycle")).isFalse();
                }),
                given(
                        "a canary",
                        "updateStrategy: {rollingUpdate: {partition: 2}}",
                        o -> assertThat(o.statefulSet()
                                        .at("/spec/updateStrategy/rollingUpdate/partition")
                                        .asInt())
                                .isEqualTo(2)),
                given("labels and annotations everywhere", """
                        commonLabels: {team: payments, helm.sh/chart: mine}
                        commonAnnotations: {owner: payments@example.com}
                        podLabels: {sidecar.istio.io/inject: "false", team: counters}
                        podAnnotations: {prometheus.io/scrape: "true", kubectl.kubernetes.io/default-container: other}
                        """, o -> {
                    assertThat(o.all()).allSatisfy(object -> {
                        assertThat(object.at("/metadata/labels/team").asText()).isEqualTo("payments");
                        assertThat(object.at("/metadata/annotations/owner").asText())
                                .isEqualTo("payments@example.com");
                    });
                    assertThat(o.statefulSet()
                                    .at("/metadata/labels/helm.sh~1chart")
                                    .asText())
                            .startsWith("counter-");
                    JsonNode pods = o.statefulSet().at("/spec/template/metadata");
                    assertThat(pods.at("/labels/team").asText()).isEqualTo("counters");
                    assertThat(pods.at("/annotations/kubectl.kubernetes.io~1default-container")
                                    .asText())
                            .isEqualTo("other");
                    assertThat(o.statefulSet()
                                    .at("/spec/volumeClaimTemplates/0/metadata/labels")
                                    .isMissingNode())
                            .as("the claim template must not change with them")
                            .isTrue();
                    assertThat(o.statefulSet().at("/spec/selector/matchLabels").has("team"))
                            .isFalse();
                }),
                given("extras", """
                        extraEnv: [{name: TZ, value: UTC}, {name: PASSWORD, valueFrom: {secretKeyRef: {name: s, key: p}}}]
                        extraEnvFrom: [{configMapRef: {name: c}}, {prefix: S_, secretRef: {name: s}}]
                        extraVolumes: [{name: certs, secret: {secretName: certs}}]
                        extraVolumeMounts: [{name: certs, mountPath: /certs, readOnly: true}]
                        extraContainers: [{name: proxy, image: proxy, ports: [{name: proxy, containerPort: 9000}], securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]
                        extraInitContainers: [{name: wait, image: wait, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]
                        """, o -> {
                    assertThat(o.environment()).containsEntry("TZ", "UTC");
                    assertThat(o.container().path("envFrom")).hasSize(2);
                    assertThat(o.pod().path("containers")).hasSize(2);
                    assertThat(o.pod().path("initContainers")).hasSize(1);
                    assertThat(o.pod().path("volumes")).hasSize(2);
                    assertThat(o.container().path("volumeMounts")).hasSize(3);
                }),
                given("extra manifests, as objects and as templates", """
                        extraManifests:
                          - {apiVersion: v1, kind: ConfigMap, metadata: {name: one}, data: {a: "{{ .Release.Name }}", b: "{{ `{{ not a template }}` }}"}}
                          - |
                            apiVersion: v1
                            kind: Secret
                            metadata: {name: {{ .Release.Name }}-two}
                            stringData: {image: {{ include "counter.image" . | quote }}}
                        """, o -> {
                    assertThat(o.at("ConfigMap", "one", "/data/a").asText()).isEqualTo("app-python");
                    assertThat(o.at("ConfigMap", "one", "/data/b").asText()).isEqualTo("{{ not a template }}");
                    assertThat(o.at("Secret", "app-python-two", "/stringData/image")
                                    .asText())
                            .startsWith("counter-app:");
                }),
                given("ingress", """
                        ingress:
                          enabled: true
                          className: nginx
                          labels: {tier: edge}
                          annotations: {cert-manager.io/cluster-issuer: letsencrypt}
                          hosts:
                            - {host: counter.example.com, paths: [{path: /}, {path: /exact, pathType: Exact}]}
                            - {host: "*.example.com"}
                          extraPaths: [{path: /*, pathType: ImplementationSpecific, backend: {service: {name: ssl-redirect, port: {name: use-annotation}}}}]
                          tls: [{secretName: counter-tls, hosts: [counter.example.com]}]
                        service: {type: ClusterIP, name: web}
                        """, o -> {
                    JsonNode spec = o.at("Ingress", RELEASE, "/spec");
                    for (JsonNode rule : spec.path("rules")) {
                        assertThat(rule.at("/http/paths/0/backend/service/name").asText())
                                .as("a controller takes the first path that matches")
                                .isEqualTo("ssl-redirect");
                    }
                    assertThat(spec.path("ingressClassName").asText()).isEqualTo("nginx");
                    assertThat(spec.path("rules")).hasSize(2);
                    assertThat(spec.at("/rules/0/http/paths/2/pathType").asText())
                            .isEqualTo("Exact");
                    assertThat(spec.at("/rules/1/http/paths/1/path").asText()).isEqualTo("/");
                    assertThat(spec.at("/rules/1/http/paths/1/pathType").asText())
                            .isEqualTo("Prefix");
                    assertThat(spec.at("/tls/0/secretName").asText()).isEqualTo("counter-tls");
                }),
                given("HTTPRoute", """
                        httpRoute:
                          enabled: true
                          annotations: {a: b}
                          parentRefs: [{name: gateway, namespace: infra, sectionName: https, port: 443}]
                          hostnames: [counter.example.com]
                          rules:
                            - {matches: [{path: {type: PathPrefix, value: /counter}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}], timeouts: {request: 10s}}
                            - {}
                            - {matches: [{path: {value: /old}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]}
                        service: {type: ClusterIP, port: 80}
                        """, o -> {
                    JsonNode spec = o.at("HTTPRoute", RELEASE, "/spec");
                    assertThat(spec.at("/parentRefs/0/namespace").asText()).isEqualTo("infra");
                    assertThat(spec.path("rules")).hasSize(3);
                    assertThat(spec.at("/rules/0/timeouts/request").asText()).isEqualTo("10s");
                    assertThat(spec.at("/rules/0/backendRefs/0")).isEqualTo(yaml("{name: app-python, port: 80}"));
                    assertThat(spec.at("/rules/1").size()).isOne();
                    assertThat(spec.at("/rules/2").has("backendRefs"))
                            .as("the Gateway API forbids a backend beside a redirect")
                            .isFalse();
                }),
                given("ServiceMonitor", """
                        serviceMonitor:
                          enabled: true
                          labels: {release: prometheus}
                          interval: 1m30s
                          relabelings: [{action: labeldrop, regex: container}]
                          metricRelabelings: [{sourceLabels: [__name__], regex: jvm_.*, action: drop}]
                        """, o -> {
                    JsonNode endpoint = o.at("ServiceMonitor", RELEASE, "/spec/endpoints/0");
                    assertThat(endpoint.path("path").asText()).isEqualTo("/prometheus");
                    assertThat(endpoint.path("interval").asText()).isEqualTo("1m30s");
                    assertThat(endpoint.path("metricRelabelings")).hasSize(1);
                    assertThat(o.at("ServiceMonitor", RELEASE, "/metadata/labels/release")
                                    .asText())
                            .isEqualTo("prometheus");
                }),
                given("alerts", """
                        prometheusRule:
                          enabled: true
                          labels: {release: prometheus}
                          runbookUrl: https://example.com/runbooks/
                          alertLabels: {team: payments}
                          alerts:
                            CounterReplicaDown: {enabled: false}
                            CounterCommitsSlow: {seconds: 0.05, for: 1h, severity: page}
                        """, o -> {
                    JsonNode rules = o.at("PrometheusRule", RELEASE, "/spec/groups/0/rules");
                    assertThat(rules)
                            .hasSize(Chart.read("values.yaml")
                                            .at("/prometheusRule/alerts")
                                            .size()
                                    - 1);
                    assertThat(rules.findValuesAsText("alert")).doesNotContain("CounterReplicaDown");
                    JsonNode slow = StreamSupport.stream(rules.spliterator(), false)
                            .filter(r -> r.path("alert").asText().equals("CounterCommitsSlow"))
                            .findFirst()
                            .orElseThrow();
                    assertThat(slow.path("expr").asText()).endsWith("> 0.05");
                    assertThat(slow.path("for").asText()).isEqualTo("1h");
                    assertThat(slow.path("labels"))
                            .isEqualTo(yaml("{severity: page, statefulset: app-python, team: payments}"));
                    assertThat(slow.at("/annotations/runbook_url").asText())
                            .isEqualTo("https://example.com/runbooks/CounterCommitsSlow.md");
                    assertThat(slow.at("/annotations/summary").asText())
                            .isEqualTo("{{ $labels.namespace }}/{{ $labels.pod }} commits slowly");
                }),
                given("dashboard", "grafanaDashboard: {enabled: true, annotations: {grafana_folder: Counters}}", o -> {
                    JsonNode map = o.get("ConfigMap", "app-python-dashboard");
                    assertThat(map.at("/metadata/labels/grafana_dashboard").asText())
                            .isEqualTo("1");
                    assertThat(yaml(map.at("/data/counterset.json").asText()))
                            .isEqualTo(Chart.read("files/dashboard.json"));
                }),
                given("the test's own settings", "tests: {counter: 'smoke: test', timeoutSeconds: 30}", o -> {
                    assertThat(o.at("Pod", "app-python-test", "/spec/containers/0/args/3")
                                    .asText())
                            .isEqualTo("smoke: test");
                    assertThat(o.at("Pod", "app-python-test", "/spec/activeDeadlineSeconds")
                                    .asInt())
                            .isEqualTo(90);
                    assertThat(o.at("Pod", "app-python-test", "/spec/containers/0/args/7")
                                    .asText())
                            .isEqualTo("30");
                }),
                given("no volumes", "persistence: {enabled: false}", o -> {
                    assertThat(o.statefulSet().path("spec").has("volumeClaimTemplates"))
                            .isFalse();
                    assertThat(o.pod().at("/volumes/1")).isEqualTo(yaml("{name: data, emptyDir: {}}"));
                }),
                given(
                        "no volumes, but memory",
                        "persistence: {enabled: false, emptyDir: {medium: Memory, sizeLimit: 64Mi}}",
                        o -> assertThat(o.pod().at("/volumes/1/emptyDir"))
                                .isEqualTo(yaml("{medium: Memory, sizeLimit: 64Mi}"))),
                given("a claim of the user's own", "{replicaCount: 1, persistence: {existingClaim: mine}}", o -> {
                    assertThat(o.statefulSet().path("spec").has("volumeClaimTemplates"))
                            .isFalse();
                    assertThat(o.pod()
                                    .at("/volumes/1/persistentVolumeClaim/claimName")
                                    .asText())
                            .isEqualTo("mine");
                }),
                given("claims from a snapshot", """
                        persistence:
                          selector: {matchLabels: {disk: fast}}
                          dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: yesterday}
                        """, o -> {
                    JsonNode claim = o.statefulSet().at("/spec/volumeClaimTemplates/0/spec");
                    assertThat(claim.at("/selector/matchLabels/disk").asText()).isEqualTo("fast");
                    assertThat(claim.at("/dataSource/name").asText()).isEqualTo("yesterday");
                }),
                given("a count in another file", "persistence: {importFrom: visits.txt, subPath: a}", o -> {
                    JsonNode init = o.pod().at("/initContainers/0");
                    assertThat(init.at("/env/0/value").asText()).isEqualTo("visits.txt");
                    assertThat(init.at("/volumeMounts/0/subPath").asText()).isEqualTo("a");
                }),
                given("the first replica from outside", """
                        replicaCount: 2
                        servicePerReplica: {enabled: true, type: NodePort, nodePorts: [30500], annotations: {host: "{{ .Release.Name }}-{{ .ordinal }}"}}
                        ingressPerReplica: {enabled: true, domain: example.com, tlsSecretName: all}
                        """, o -> {
                    assertThat(o.at("Service", "app-python-0", "/spec/ports/0/nodePort")
                                    .asInt())
                            .isEqualTo(30500);
                    assertThat(o.at("Service", "app-python-1", "/spec/ports/0").has("nodePort"))
                            .isFalse();
                    assertThat(o.at("Service", "app-python-1", "/metadata/annotations/host")
                                    .asText())
                            .isEqualTo("app-python-1");
                    assertThat(o.at("Ingress", "app-python-1", "/spec/tls/0/hosts/0")
                                    .asText())
                            .isEqualTo("app-python-1.example.com");
                    assertThat(o.names()).doesNotContain("Service/app-python-2");
                }),
                given("PodMonitor", """
                        podMonitor: {enabled: true}
                        serviceMonitor: {namespace: monitoring, endpoint: {honorLabels: true, scheme: http}, spec: {sampleLimit: 500}}
                        """, o -> {
                    JsonNode monitor = o.get("PodMonitor", RELEASE);
                    assertThat(monitor.at("/metadata/namespace").asText()).isEqualTo("monitoring");
                    assertThat(monitor.at("/spec/podMetricsEndpoints/0/honorLabels")
                                    .asBoolean())
                            .isTrue();
                    assertThat(monitor.at("/spec/sampleLimit").asInt()).isEqualTo(500);
                }),
                given(
                        "a single allowed counter whose name is a number",
                        "{counter: {create: ['2024']}, tests: {enabled: false}}",
                        o -> assertThat(o.environment())
                                .as("2024 alone would allow that many counters")
                                .containsEntry("COUNTER_CREATE", "2024,visits")),
                given(
                        "no allowed counter",
                        "{counter: {create: []}, tests: {enabled: false}}",
                        o -> assertThat(o.environment()).containsEntry("COUNTER_CREATE", "0")),
                given(
                        "dollars in names",
                        "{counter: {name: a$(HOME)$$}, peers: {group: $$b}, tests: {counter: $c}}",
                        o -> {
                            assertThat(o.environment())
                                    .as("Kubernetes replaces $(HOME), and makes $ of $$")
                                    .containsEntry("COUNTER_NAME", "a$$(HOME)$$$$")
                                    .containsEntry("COUNTER_PEERS_GROUP", "$$$$b");
                            assertThat(o.at("Pod", "app-python-test", "/spec/containers/0/args"))
                                    .contains(yaml("$$c"));
                        }),
                given("settings from elsewhere", """
                        {existingConfigMap: c, existingSecret: s, rateLimit: {requestsPerSecond: 50, address: forwarded}}
                        """, o -> {
                    assertThat(o.container().path("envFrom"))
                            .isEqualTo(yaml("[{configMapRef: {name: c}}, {secretRef: {name: s}}]"));
                    assertThat(o.environment())
                            .as("the container's own environment would override them")
                            .doesNotContainKeys("COUNTER_NAME", "COUNTER_LOG_LEVEL")
                            .containsKeys("COUNTER_DIRECTORY", "COUNTER_PEERS_SERVICE");
                    assertThat(o.environment())
                            .as("the limits of security stay")
                            .containsEntry("COUNTER_RATE_LIMIT", "50")
                            .containsEntry("COUNTER_RATE_ADDRESS", "forwarded")
                            .doesNotContainKey("COUNTER_RATE_BURST");
                }),
                given("tokens", "auth: {existingSecret: counter-tokens}", o -> {
                    assertThat(o.environment())
                            .containsEntry("COUNTER_TOKENS_WRITE", "/etc/counter/tokens/write")
                            .containsEntry("COUNTER_TOKENS_PEERS", "/etc/counter/tokens/peers")
                            .doesNotContainKey("COUNTER_TOKENS_READ");
                    assertThat(o.pod().at("/volumes/1"))
                            .isEqualTo(yaml("{name: tokens, secret: {secretName: counter-tokens}}"));
                    JsonNode test = o.at("Pod", "app-python-test", "/spec");
                    assertThat(test.at("/containers/0/args/8").asText()).isEqualTo("--token-file");
                    assertThat(test.at("/containers/0/args/9").asText()).isEqualTo("/etc/counter/tokens/write");
                    assertThat(test.at("/containers/0/volumeMounts/1"))
                            .isEqualTo(yaml("{name: tokens, mountPath: /etc/counter/tokens, readOnly: true}"));
                }),
                given("tokens for reading too, and metrics on a port of their own", """
                        auth: {existingSecret: counter-tokens, protectReads: true}
                        managementPort: 9090
                        serviceMonitor: {enabled: true}
                        networkPolicy: {enabled: true, apiServer: {cidrs: [10.0.0.1/32]}, clients: [{podSelector: {}}], monitoring: [{namespaceSelector: {}}]}
                        """, o -> {
                    assertThat(o.environment())
                            .containsEntry("COUNTER_TOKENS_READ", "/etc/counter/tokens/read")
                            .containsEntry("COUNTER_MANAGEMENT_PORT", "9090");
                    assertThat(o.container().at("/ports/1"))
                            .isEqualTo(yaml("{name: management, containerPort: 9090, protocol: TCP}"));
                    for (String probe : List.of("startupProbe", "readinessProbe", "livenessProbe")) {
                        assertThat(o.container()
                                        .at("/" + probe + "/httpGet/port")
                                        .asText())
                                .isEqualTo("management");
                    }
                    assertThat(o.at("ServiceMonitor", RELEASE, "/spec/endpoints/0/port")
                                    .asText())
                            .isEqualTo("management");
                    assertThat(o.at("Service", "app-python-headless", "/spec/ports/1"))
                            .isEqualTo(yaml("{name: management, port: 9090, targetPort: management, protocol: TCP}"));
                    assertThat(o.at("Service", RELEASE, "/spec/ports"))
                            .as("clients cannot reach it")
                            .hasSize(1);
                    assertThat(o.at("NetworkPolicy", RELEASE, "/spec/ingress/1"))
                            .isEqualTo(yaml("{ports: [{port: 9090, protocol: TCP}], from: [{namespaceSelector: {}}]}"));
                }),
                given("TLS with a Secret", """
                        tls: {enabled: true, existingSecret: counter-tls}
                        serviceMonitor: {enabled: true}
                        """, o -> {
                    assertThat(o.environment())
                            .containsEntry("COUNTER_TLS_CERTIFICATE", "/etc/counter/tls/tls.crt")
                            .containsEntry("COUNTER_TLS_KEY", "/etc/counter/tls/tls.key")
                            .containsEntry("COUNTER_TLS_AUTHORITY", "/etc/counter/tls/ca.crt")
                            .containsEntry("COUNTER_TLS_PEER_NAME", "app-python-headless");
                    for (String probe : List.of("startupProbe", "readinessProbe", "livenessProbe")) {
                        assertThat(o.container()
                                        .at("/" + probe + "/httpGet/scheme")
                                        .asText())
                                .isEqualTo("HTTPS");
                    }
                    assertThat(o.at("ServiceMonitor", RELEASE, "/spec/endpoints/0/scheme")
                                    .asText())
                            .isEqualTo("https");
                    assertThat(o.at("ServiceMonitor", RELEASE, "/spec/endpoints/0/tlsConfig"))
                            .isEqualTo(
                                    yaml(
                                            "{ca: {secret: {name: counter-tls, key: ca.crt}}, serverName: app-python-headless}"));
                    JsonNode arguments = o.at("Pod", "app-python-test", "/spec/containers/0/args");
                    assertThat(arguments.get(1).asText()).isEqualTo("https://app-python:5000");
                    assertThat(arguments.get(8).asText()).isEqualTo("--authority");
                    assertThat(arguments.get(9).asText()).isEqualTo("/etc/counter/tls/ca.crt");
                }),
                given("TLS with cert-manager, probes and metrics in plain HTTP on a port of their own", """
                        tls:
                          enabled: true
                          authorityKey: ""
                          certificate:
                            enabled: true
                            issuerRef: {name: letsencrypt, kind: ClusterIssuer}
                            dnsNames: [counter.example.com]
                            duration: 2160h
                            spec: {privateKey: {rotationPolicy: Always}}
                        managementPort: 9090
                        podMonitor: {enabled: true}
                        """, o -> {
                    JsonNode spec = o.at("Certificate", RELEASE, "/spec");
                    assertThat(spec.path("secretName").asText()).isEqualTo("app-python-tls");
                    assertThat(spec.path("duration").asText()).isEqualTo("2160h");
                    assertThat(spec.at("/privateKey/rotationPolicy").asText()).isEqualTo("Always");
                    assertThat(spec.path("dnsNames").toString())
                            .contains(
                                    "\"app-python-headless\"",
                                    "\"app-python\"",
                                    "\"localhost\"",
                                    "\"*.app-python-headless.demo.svc.cluster.local\"",
                                    "\"app-python.demo.svc.cluster.local\"",
                                    "\"counter.example.com\"");
                    assertThat(o.pod().at("/volumes/1/secret/secretName").asText())
                            .isEqualTo("app-python-tls");
                    assertThat(o.environment()).doesNotContainKey("COUNTER_TLS_AUTHORITY");
                    assertThat(o.container().at("/livenessProbe/httpGet"))
                            .isEqualTo(yaml("{path: /health/liveness, port: management}"));
                    assertThat(o.at("PodMonitor", RELEASE, "/spec/podMetricsEndpoints/0")
                                    .has("scheme"))
                            .isFalse();
                }),
                given(
                        "a monitor's own scheme wins",
                        """
                        tls: {enabled: true, existingSecret: counter-tls}
                        serviceMonitor: {enabled: true, endpoint: {tlsConfig: {insecureSkipVerify: true}, authorization: {credentials: {name: a, key: b}}}}
                        """,
                        o -> assertThat(o.at(
                                                "ServiceMonitor",
                                                RELEASE,
                                                "/spec/endpoints/0/tlsConfig/insecureSkipVerify")
                                        .asBoolean())
                                .isTrue()),
                given(
                        "a rate limit",
                        "rateLimit: {requestsPerSecond: 20, burst: 100, address: forwarded}",
                        o -> assertThat(o.environment())
                                .containsEntry("COUNTER_RATE_LIMIT", "20")
                                .containsEntry("COUNTER_RATE_BURST", "100")
                                .containsEntry("COUNTER_RATE_ADDRESS", "forwarded")),
                given(
                        "no rate limit",
                        "",
                        o -> assertThat(o.environment().keySet()).noneMatch(name -> name.startsWith("COUNTER_RATE"))),
                given("OpenShift", "openshift: true", o -> {
                    assertThat(o.pod().path("securityContext").properties())
                            .extracting(e -> e.getKey())
                            .containsExactlyInAnyOrder("runAsNonRoot", "fsGroupChangePolicy", "seccompProfile");
                }),
                given(
                        "another namespace",
                        "namespaceOverride: counters",
                        o -> assertThat(o.at("RoleBinding", RELEASE, "/subjects/0/namespace")
                                        .asText())
                                .isEqualTo("counters")),
                given("fields of the pods", """
                        hostAliases: [{ip: 192.0.2.1, hostnames: [a]}]
                        dnsPolicy: None
                        dnsConfig: {nameservers: [192.0.2.53]}
                        schedulerName: other
                        runtimeClassName: gvisor
                        podAntiAffinityPreset: hard
                        podAntiAffinityTopologyKey: example.com/rack
                        extraPodSpec: {hostUsers: false, shareProcessNamespace: true}
                        statefulSet: {labels: {tier: inner}, annotations: {reloader.stakater.com/auto: "true"}}
                        readinessProbe: {initialDelaySeconds: 3, successThreshold: 2, httpGet: {path: /ready, port: http}}
                        lifecycle: {preStop: {exec: {command: [sleep, "9"]}}}
                        updateStrategy: {rollingUpdate: {maxUnavailable: 2}}
                        """, o -> {
                    assertThat(o.pod().path("dnsPolicy").asText()).isEqualTo("None");
                    assertThat(o.pod().path("runtimeClassName").asText()).isEqualTo("gvisor");
                    assertThat(o.pod().path("shareProcessNamespace").asBoolean())
                            .isTrue();
                    assertThat(o.pod().findValuesAsText("topologyKey")).contains("example.com/rack");
                    assertThat(o.statefulSet().at("/metadata/labels/tier").asText())
                            .isEqualTo("inner");
                    assertThat(o.statefulSet()
                                    .at("/metadata/annotations/reloader.stakater.com~1auto")
                                    .asText())
                            .isEqualTo("true");
                    assertThat(o.statefulSet()
                                    .at("/spec/template/metadata/labels")
                                    .has("tier"))
                            .isFalse();
                    assertThat(o.pod()
                                    .at("/affinity/podAntiAffinity")
                                    .has("requiredDuringSchedulingIgnoredDuringExecution"))
                            .isTrue();
                    assertThat(o.container()
                                    .at("/readinessProbe/successThreshold")
                                    .asInt())
                            .isEqualTo(2);
                    assertThat(o.container().at("/lifecycle/preStop").has("sleep"))
                            .isFalse();
                    assertThat(o.statefulSet()
                                    .at("/spec/updateStrategy/rollingUpdate/maxUnavailable")
                                    .asInt())
                            .isEqualTo(2);
                }),
                given(
                        "an Ingress without a host",
                        "ingress: {enabled: true, hosts: []}",
                        o -> assertThat(o.at("Ingress", RELEASE, "/spec/rules/0")
                                        .has("host"))
                                .isFalse()),
                given(
                        "extra manifests as a map",
                        """
                        extraManifests:
                          one: {apiVersion: v1, kind: ConfigMap, metadata: {name: "{{ .Release.Name }}-one"}}
                          off: null
                        """,
                        o -> assertThat(o.names()).contains("ConfigMap/app-python-one")),
                given("no defaults", """
                        {counter: null, peers: null, service: null, resources: null, startupProbe: null, readinessProbe: null, livenessProbe: null,
                        lifecycle: null, metrics: null, log: null, jvm: null, image: null, headlessService: null, podDisruptionBudget: null,
                        topologySpreadConstraints: null, podAntiAffinityPreset: null, tests: null, updateStrategy: null, nodeSelector: {a: null}}
                        """, o -> {
                    assertThat(o.container().has("resources")).isFalse();
                    assertThat(o.pod().has("affinity")).isFalse();
                    assertThat(o.environment()).doesNotContainKeys("COUNTER_NAME", "JAVA_TOOL_OPTIONS");
                }),
                given(
                        "parked",
                        "replicaCount: 0",
                        o -> assertThat(o.statefulSet().at("/spec/replicas").asInt(-1))
                                .isZero()),
                given(
                        "parked, peers by dns: as many as are listed once it is scaled up",
                        "{replicaCount: 0, peers: {source: dns}}",
                        o -> assertThat(o.environment()).doesNotContainKey("COUNTER_PEERS_EXPECTED")),
                given(
                        "a thousand",
                        "{replicaCount: 1000, peers: {source: dns}}",
                        o -> assertThat(o.environment()).containsEntry("COUNTER_PEERS_EXPECTED", "1000")),
                given("the claims of a plain count.txt chart", Migration.VALUES, o -> {
                    assertThat(o.statefulSet().at("/metadata/name").asText()).isEqualTo("app-python-app-python-chart");
                    assertThat(o.statefulSet()
                                    .at("/spec/volumeClaimTemplates/0/metadata/name")
                                    .asText())
                            .isEqualTo("app-volume");
                    assertThat(o.names()).contains("Service/app-python-app-python-chart");
                }),
                given(
                        "everything at once",
                        EVERYTHING,
                        o -> assertThat(o.names())
                                .contains(
                                        "ConfigMap/app-python-dashboard",
                                        "HTTPRoute/app-python",
                                        "Ingress/app-python",
                                        "NetworkPolicy/app-python",
                                        "PrometheusRule/app-python",
                                        "ServiceMonitor/app-python")));
    }

    /** Every switch that is off by default is on. */
    static final String EVERYTHING = """
            networkPolicy: {enabled: true, apiServer: {cidrs: [10.0.0.1/32]}}
            ingress: {enabled: true}
            httpRoute: {enabled: true, parentRefs: [{name: gateway}]}
            serviceMonitor: {enabled: true}
            prometheusRule: {enabled: true, runbookUrl: "https://example.com"}
            grafanaDashboard: {enabled: true}
            service: {sessionAffinity: ClientIP, appProtocol: http}
            """;

    private static JsonNode yaml(String text) {
        try {
            return Chart.YAML.readTree(text);
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }
}
