"""Envoy's messages that others share, TLS among them: field names by kind."""

from __future__ import annotations

from typing import Final

MESSAGES: Final = """
core.Address:
core.EnvoyInternalAddress envoy_internal_address; core.Pipe pipe; core.SocketAddress socket_address
core.AggregatedConfigSource:
-
core.AlternateProtocolsCacheOptions:
.AlternateProtocolsCacheEntry* prepopulated_entries; core.TypedExtensionConfig key_value_store_config; int
max_entries; text name; text* canonical_suffixes
core.AlternateProtocolsCacheOptions.AlternateProtocolsCacheEntry:
int port; text hostname
core.ApiConfigSource:
.ApiType api_type; ? rate_limit_settings; bool set_node_on_first_message_only; core.ApiVersion transport_api_version;
core.GrpcService* grpc_services; core.TypedExtensionConfig* config_validators; duration refresh_delay request_timeout;
text* cluster_names
core.BackoffStrategy:
duration base_interval max_interval
core.BindConfig:
? socket_options; bool freebind validate_network_namespaces; core.ExtraSourceAddress* extra_source_addresses;
core.SocketAddress source_address; core.SocketAddress* additional_source_addresses; core.TypedExtensionConfig
local_address_selector
core.CidrRange:
int prefix_len; text address_prefix
core.ConfigSource:
? authorities; core.AggregatedConfigSource ads; core.ApiConfigSource api_config_source; core.ApiVersion
resource_api_version; core.PathConfigSource path_config_source; core.SelfConfigSource self; duration
initial_fetch_timeout; text path
core.ControlPlane:
text identifier
core.DataSource:
? inline_bytes; core.WatchedDirectory watched_directory; text environment_variable filename inline_string
core.DnsResolutionConfig:
core.Address* resolvers; core.DnsResolverOptions dns_resolver_options
core.DnsResolverOptions:
bool no_default_search_domain use_tcp_for_dns_lookups
core.EnvoyInternalAddress:
text endpoint_id server_listener_name
core.EventServiceConfig:
core.GrpcService grpc_service
core.ExtraSourceAddress:
? socket_options; core.SocketAddress address
core.GrpcService:
.EnvoyGrpc envoy_grpc; ? google_grpc; core.HeaderValue* initial_metadata; core.RetryPolicy retry_policy; duration
timeout
core.GrpcService.EnvoyGrpc:
bool skip_envoy_headers; core.RetryPolicy retry_policy; int max_receive_message_length; text authority cluster_name
core.HeaderValue:
? raw_value; text key value
core.HeaderValueOption:
.HeaderAppendAction append_action; bool append keep_empty_value; core.HeaderValue header
core.HealthCheck:
.CustomHealthCheck custom_health_check; .GrpcHealthCheck grpc_health_check; .HttpHealthCheck http_health_check;
.TcpHealthCheck tcp_health_check; .TlsOptions tls_options; ? transport_socket_match_criteria; bool
always_log_health_check_failures always_log_health_check_success reuse_connection; core.EventServiceConfig
event_service; core.TypedExtensionConfig* event_logger; duration healthy_edge_interval initial_jitter interval
interval_jitter no_traffic_healthy_interval no_traffic_interval timeout unhealthy_edge_interval unhealthy_interval;
int alt_port healthy_threshold interval_jitter_percent unhealthy_threshold; text event_log_path name
core.HealthCheck.CustomHealthCheck:
any typed_config; text name
core.HealthCheck.GrpcHealthCheck:
core.HeaderValueOption* initial_metadata; text authority service_name
core.HealthCheck.HttpHealthCheck:
bool use_alpn_protocol; core.HeaderValueOption* request_headers_to_add; core.HealthCheck.Payload send;
core.HealthCheck.Payload* receive; core.RequestMethod method; int response_buffer_size; matcher.StringMatcher
service_name_matcher; text host path; text* request_headers_to_remove; v3.CodecClientType codec_client_type;
v3.Int64Range* expected_statuses retriable_statuses
core.HealthCheck.Payload:
? binary; text text
core.HealthCheck.TcpHealthCheck:
core.HealthCheck.Payload send; core.HealthCheck.Payload* receive; core.ProxyProtocolConfig proxy_protocol_config
core.HealthCheck.TlsOptions:
text* alpn_protocols
core.HealthStatusSet:
core.HealthStatus* statuses
core.Http1ProtocolOptions:
.HeaderKeyFormat header_key_format; bool accept_http_10 allow_absolute_url allow_chunked_length allow_custom_methods
enable_trailers override_stream_error_on_invalid_http_message send_fully_qualified_url use_balsa_parser;
matcher.StringMatcher* ignore_http_11_upgrade; text default_host_for_http_10
core.Http1ProtocolOptions.HeaderKeyFormat:
.ProperCaseWords proper_case_words; core.TypedExtensionConfig stateful_formatter
core.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords:
-
core.Http2ProtocolOptions:
.SettingsParameter* custom_settings_parameters; bool allow_connect allow_metadata disallow_obs_text
enable_huffman_encoding override_stream_error_on_invalid_http_message stream_error_on_invalid_http_messaging
use_oghttp2_codec; core.KeepaliveSettings connection_keepalive; int hpack_table_size initial_connection_window_size
initial_stream_window_size max_concurrent_streams max_consecutive_inbound_frames_with_empty_payload
max_header_field_size_kb max_inbound_priority_frames_per_stream max_inbound_window_update_frames_per_data_frame_sent
max_metadata_size max_outbound_control_frames max_outbound_frames stream_reset_burst stream_reset_rate
core.Http2ProtocolOptions.SettingsParameter:
int identifier value
core.Http3ProtocolOptions:
? quic_protocol_options; bool allow_extended_connect allow_metadata disable_connection_flow_control_for_streams
disable_qpack disallow_obs_text override_stream_error_on_invalid_http_message
core.HttpProtocolOptions:
.HeadersWithUnderscoresAction headers_with_underscores_action; duration idle_timeout max_connection_duration
max_stream_duration; int max_headers_count max_requests_per_connection max_response_headers_kb; v3.Percent
max_connection_duration_jitter
core.KeepaliveSettings:
duration connection_idle_interval interval timeout; v3.Percent interval_jitter
core.Locality:
text region sub_zone zone
core.Metadata:
map<?> filter_metadata; map<any> typed_filter_metadata
core.Node:
? extensions metadata user_agent_build_version; core.Address* listening_addresses; core.Locality locality; map<?>
dynamic_parameters; text cluster id user_agent_name user_agent_version; text* client_features
core.PathConfigSource:
core.WatchedDirectory watched_directory; duration poll_interval; text path
core.Pipe:
int mode; text path
core.ProxyProtocolConfig:
.Version version; core.ProxyProtocolPassThroughTLVs pass_through_tlvs; core.TlvEntry* added_tlvs
core.ProxyProtocolPassThroughTLVs:
.PassTLVsMatchType match_type; int* tlv_type
core.RetryPolicy:
.RetryHostPredicate* retry_host_predicate; .RetryPriority retry_priority; core.BackoffStrategy retry_back_off; int
host_selection_retry_max_attempts num_retries; text retry_on
core.RetryPolicy.RetryHostPredicate:
any typed_config; text name
core.RetryPolicy.RetryPriority:
any typed_config; text name
core.RuntimeDouble:
number default_value; text runtime_key
core.RuntimeFeatureFlag:
bool default_value; text runtime_key
core.RuntimeFractionalPercent:
text runtime_key; v3.FractionalPercent default_value
core.RuntimeUInt32:
int default_value; text runtime_key
core.SchemeHeaderTransformation:
bool match_upstream; text scheme_to_overwrite
core.SelfConfigSource:
core.ApiVersion transport_api_version
core.SocketAddress:
.Protocol protocol; bool ipv4_compat; int port_value; text address named_port network_namespace_filepath resolver_name
core.SocketCmsgHeaders:
int expected_size level type
core.TcpKeepalive:
int keepalive_interval keepalive_probes keepalive_time
core.TlvEntry:
? format_string value; int type
core.TransportSocket:
any typed_config; text name
core.TypedExtensionConfig:
any typed_config; text name
core.UpstreamHttpProtocolOptions:
bool auto_san_validation auto_sni; text override_auto_sni_header
core.WatchedDirectory:
bool watch_modify; text path
network.dns_resolver.cares.CaresDnsResolverConfig:
bool filter_unroutable_families reinit_channel_on_timeout rotate_nameservers use_resolvers_as_fallback; core.Address*
resolvers; core.DnsResolverOptions dns_resolver_options; duration max_udp_channel_duration; int edns0_max_payload_size
qcache_max_ttl query_timeout_seconds query_tries udp_max_queries
transport_sockets.raw_buffer.RawBuffer:
-
transport_sockets.tls.CertificateProviderPluginInstance:
text certificate_name instance_name
transport_sockets.tls.CertificateValidationContext:
.SystemRootCerts system_root_certs; .TrustChainVerification trust_chain_verification; bool allow_expired_certificate
only_verify_leaf_cert_crl require_signed_certificate_timestamp suppress_client_ca_list; core.DataSource crl
trusted_ca; core.TypedExtensionConfig custom_validator_config; core.WatchedDirectory watched_directory; int
max_verify_depth; matcher.StringMatcher* match_subject_alt_names; text* verify_certificate_hash
verify_certificate_spki; transport_sockets.tls.CertificateProviderPluginInstance ca_certificate_provider_instance;
transport_sockets.tls.SubjectAltNameMatcher* match_typed_subject_alt_names
transport_sockets.tls.CertificateValidationContext.SystemRootCerts:
-
transport_sockets.tls.CommonTlsContext:
.CertificateProvider tls_certificate_certificate_provider validation_context_certificate_provider;
.CertificateProviderInstance tls_certificate_certificate_provider_instance
validation_context_certificate_provider_instance; .CombinedCertificateValidationContext combined_validation_context;
core.TypedExtensionConfig custom_handshaker custom_tls_certificate_selector; text* alpn_protocols;
transport_sockets.tls.CertificateProviderPluginInstance tls_certificate_provider_instance;
transport_sockets.tls.CertificateValidationContext validation_context; transport_sockets.tls.SdsSecretConfig
validation_context_sds_secret_config; transport_sockets.tls.SdsSecretConfig* tls_certificate_sds_secret_configs;
transport_sockets.tls.TlsCertificate* tls_certificates; transport_sockets.tls.TlsKeyLog key_log;
transport_sockets.tls.TlsParameters tls_params
transport_sockets.tls.CommonTlsContext.CertificateProvider:
core.TypedExtensionConfig typed_config; text name
transport_sockets.tls.CommonTlsContext.CertificateProviderInstance:
text certificate_name instance_name
transport_sockets.tls.CommonTlsContext.CombinedCertificateValidationContext:
transport_sockets.tls.CertificateValidationContext default_validation_context;
transport_sockets.tls.CommonTlsContext.CertificateProvider validation_context_certificate_provider;
transport_sockets.tls.CommonTlsContext.CertificateProviderInstance validation_context_certificate_provider_instance;
transport_sockets.tls.SdsSecretConfig validation_context_sds_secret_config
transport_sockets.tls.DownstreamTlsContext:
.OcspStaplePolicy ocsp_staple_policy; bool disable_stateful_session_resumption disable_stateless_session_resumption
full_scan_certs_on_sni_mismatch prefer_client_ciphers require_client_certificate require_sni; duration
session_timeout; transport_sockets.tls.CommonTlsContext common_tls_context; transport_sockets.tls.SdsSecretConfig
session_ticket_keys_sds_secret_config; transport_sockets.tls.TlsSessionTicketKeys session_ticket_keys
transport_sockets.tls.GenericSecret:
core.DataSource secret; map<core.DataSource> secrets
transport_sockets.tls.PrivateKeyProvider:
any typed_config; bool fallback; text provider_name
transport_sockets.tls.SdsSecretConfig:
core.ConfigSource sds_config; text name
transport_sockets.tls.Secret:
text name; transport_sockets.tls.CertificateValidationContext validation_context; transport_sockets.tls.GenericSecret
generic_secret; transport_sockets.tls.TlsCertificate tls_certificate; transport_sockets.tls.TlsSessionTicketKeys
session_ticket_keys
transport_sockets.tls.SubjectAltNameMatcher:
.SanType san_type; matcher.StringMatcher matcher; text oid
transport_sockets.tls.TlsCertificate:
core.DataSource certificate_chain ocsp_staple password pkcs12 private_key; core.DataSource*
signed_certificate_timestamp; core.WatchedDirectory watched_directory; transport_sockets.tls.PrivateKeyProvider
private_key_provider; transport_sockets.tls.TlsParameters tls_params
transport_sockets.tls.TlsKeyLog:
core.CidrRange* local_address_range remote_address_range; text path
transport_sockets.tls.TlsParameters:
.CompliancePolicy* compliance_policies; .TlsProtocol tls_maximum_protocol_version tls_minimum_protocol_version; text*
cipher_suites ecdh_curves signature_algorithms
transport_sockets.tls.TlsSessionTicketKeys:
core.DataSource* keys
transport_sockets.tls.UpstreamTlsContext:
bool allow_renegotiation auto_host_sni auto_sni_san_validation enforce_rsa_key_usage; int max_session_keys; text sni;
transport_sockets.tls.CommonTlsContext common_tls_context
"""

ENUMS: Final = """
core.ApiConfigSource.ApiType: DEPRECATED_AND_UNAVAILABLE_DO_NOT_USE REST GRPC DELTA_GRPC AGGREGATED_GRPC
AGGREGATED_DELTA_GRPC
core.ApiVersion: AUTO V2 V3
core.HeaderValueOption.HeaderAppendAction: APPEND_IF_EXISTS_OR_ADD ADD_IF_ABSENT OVERWRITE_IF_EXISTS_OR_ADD
OVERWRITE_IF_EXISTS
core.HealthStatus: UNKNOWN HEALTHY UNHEALTHY DRAINING TIMEOUT DEGRADED
core.HttpProtocolOptions.HeadersWithUnderscoresAction: ALLOW REJECT_REQUEST DROP_HEADER
core.ProxyProtocolConfig.Version: V1 V2
core.ProxyProtocolPassThroughTLVs.PassTLVsMatchType: INCLUDE_ALL INCLUDE
core.RequestMethod: METHOD_UNSPECIFIED GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH
core.RoutingPriority: DEFAULT HIGH
core.SocketAddress.Protocol: TCP UDP
core.TrafficDirection: UNSPECIFIED INBOUND OUTBOUND
transport_sockets.tls.CertificateValidationContext.TrustChainVerification: VERIFY_TRUST_CHAIN ACCEPT_UNTRUSTED
transport_sockets.tls.DownstreamTlsContext.OcspStaplePolicy: LENIENT_STAPLING STRICT_STAPLING MUST_STAPLE
transport_sockets.tls.SubjectAltNameMatcher.SanType: SAN_TYPE_UNSPECIFIED EMAIL DNS URI IP_ADDRESS OTHER_NAME
transport_sockets.tls.TlsParameters.CompliancePolicy: FIPS_202205 CNSA2_202603 CNSA1_202603
transport_sockets.tls.TlsParameters.TlsProtocol: TLS_AUTO TLSv1_0 TLSv1_1 TLSv1_2 TLSv1_3
"""
