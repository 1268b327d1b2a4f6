// The client of ioBroker's adapter `mqtt`, with a stand-in for ioBroker's store: prints each state as a line of JSON.
// Arguments: folder of the adapter, its settings as JSON.
'use strict';
const [folder, settings] = process.argv.slice(2);
const MQTTClient = require(`${folder}/lib/client.js`);

const objects = {}, silent = () => {};
function called(arguments_, value) {
    const back = arguments_[arguments_.length - 1];
    if (typeof back === 'function') back(null, value);
    return Promise.resolve(value);
}
const store = {
    namespace: 'mqtt.0',
    config: JSON.parse(settings),
    log: {debug: silent, silly: silent, info: silent, warn: text => console.error(text), error: text => console.error(text)},
    setForeignStateAsync: (id, state) => {
        const value = typeof state === 'object' && state !== null && 'val' in state ? state.val : state;
        const type = objects[id]?.common?.type;
        console.log(JSON.stringify({id, value, type}));
        return Promise.resolve();
    },
};
const known = id => objects[id] ?? objects[`mqtt.0.${id}`] ?? null;
const adapter = new Proxy(store, {
    get(target, name) {
        if (name in target) return target[name];
        if (typeof name !== 'string' || name === 'then') return undefined;
        if (/^get(Foreign)?Object/.test(name)) return (id, ...rest) => called(rest, known(id));
        if (/^(set|extend)(Foreign)?Object/.test(name)) return (id, object, ...rest) => called(rest, objects[id] = object);
        return (...rest) => called(rest, null);
    },
});
new MQTTClient(adapter, {});
