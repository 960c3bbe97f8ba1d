//! (stand-in until the encoder is merged)
use crate::model::Event;
#[derive(Debug, Clone)]
pub struct Config {
    pub namespace: String,
}
impl Default for Config {
    fn default() -> Self {
        Self { namespace: "default".to_owned() }
    }
}
impl Config {
    pub fn data_stream(&self) -> String {
        format!("logs-calico.flow-{}", self.namespace)
    }
}
#[derive(Debug)]
pub struct Encoder;
impl Encoder {
    pub fn new(_: Config) -> Self {
        Self
    }
    pub fn encode(&mut self, _: &Event<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"@timestamp\":0}");
    }
}
